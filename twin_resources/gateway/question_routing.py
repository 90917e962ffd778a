"""From an author's fitted policy to the model that answers one question, on the request path.

Belongs here: whether the policy may be used for this question, the pace of the money by author,
what trace and reader are told. Does not belong here: the mathematics (`routing/`), reading the file
(`live_config.py`), the draw between stable version and canary (`choice.py`).

The policy is asked whoever was drawn: a canary gets the same questions as the stable version, or
its trial would compare easy ones with all. It lapses with the stable version that its labels are
of, and with their paid model, embedder or prices: then everything is answered as without it.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from twin_resources.gateway.choice import RouteDecision, Snapshot, larger
from twin_resources.registry.policy import LARGER
from twin_resources.registry.route_names import PAID, ROUTED
from twin_resources.router.decision import RoutingDecision, decide, features_of, point_of
from twin_resources.router.pacing import BudgetLeft, SpendingPace

if TYPE_CHECKING:
    from twin_resources.gateway.found_passages import FoundPassages
    from twin_resources.gateway.request_body import ChatRequest
    from twin_resources.router.fixed_order import PriceStep
    from twin_resources.router.policy_file import RoutingPolicy

# With two passages a prompt has about 450 tokens and an answer about 120.
PROMPT_SHARE = 0.8


@dataclass(frozen=True)
class RoutingNote:
    """Why this model answers: for trace, `twin explain` and the page.

    Attributes:
        reason: one clause.
        gain: predicted, of the paid model over the own one; None: nothing was scored.
        other: who else could have answered: the paid model, or the own one in its place; empty:
            nobody.
        other_usd_per_million: of that one's tokens, in the mix that readers cause.
        cascade: the paid model is asked again where the own answer scores low; None: it is not.
        own_usd_per_million: of the own model's tokens.
    """

    reason: str
    gain: float | None = None
    other: str = ""
    other_usd_per_million: float = 0.0
    cascade: PriceStep | None = None
    own_usd_per_million: float = 0.0

    def other_usd(self, tokens: int) -> float:
        """What the other would have asked for so many tokens, about, US dollars."""
        return tokens * self.other_usd_per_million / 1e6


@dataclass
class QuestionRouter:
    """Chooses between the own model and dearer ones for questions to `twin/<author>`.

    Attributes:
        paid_model: LiteLLM name; empty: there is none, and nothing is routed.
        money: what an author's questions may still cost; may block. None: no limit is known.
        clock: seconds, monotonic.
    """

    paid_model: str = ""
    money: Callable[[str], BudgetLeft | None] = lambda _: None
    clock: Callable[[], float] = time.monotonic
    _paces: dict[str, SpendingPace] = field(default_factory=dict[str, SpendingPace])

    async def route(
        self,
        snapshot: Snapshot,
        asked: ChatRequest,
        chosen: RouteDecision,
        *,
        found: FoundPassages,
        trace_id: str,
        paid_problem: Callable[[], str],
    ) -> tuple[RouteDecision, RoutingNote | None]:
        """Who answers in the place of the version that was drawn, and why.

        Args:
            chosen: of `choice.choose`; an alias, a divert, base and whoever stands in for another
                stay as they are.
            found: with the question's vector.
            trace_id: its digits are the lot.
            paid_problem: why no answer may be paid for now; may block.

        Returns:
            `chosen` and None where the author has no policy.
        """
        policy = snapshot.routing.get(asked.author)
        if policy is None or not self.paid_model or chosen.route not in {"stable", "canary"}:
            return chosen, None
        problem = self._lapsed(policy, snapshot, asked, found)
        if problem:
            return chosen, RoutingNote(f"not routed: {problem}")
        row = features_of(
            policy,
            np.asarray(found.vector, np.float64),
            length=len(asked.question),
            closeness=found.closeness,
        )
        step = await self._step(policy)
        routed = decide(policy, row, point=point_of(trace_id), step=step)
        # about as many tokens as an answer of the labels had: the real ones are known afterwards
        self._pace(policy).see(self.clock(), np.asarray(routed.gains), policy.prices)
        # Not during a trial: it compares all answers of two versions, and only the better ones of
        # one would be kept. Nor where money forces another step: then the router saves more.
        is_alone = chosen.route == "stable" and chosen.propensity == 1.0
        if policy.cascade and is_alone and not asked.stream and step == policy.in_force:
            return chosen, _cascading(policy, routed)
        kept = replace(
            chosen,
            propensity=chosen.propensity * _chance_of_own(routed),
            degraded=(*chosen.degraded, *_not_held(routed)),
        )
        if routed.model == 0:
            return kept, _note(policy, routed, other=len(policy.models) - 1)
        name = policy.models[routed.model].name
        if name == LARGER:
            found_larger, problem = larger(snapshot, asked.author, propensity=routed.propensity)
            if found_larger is None:
                told = f"{ROUTED}{LARGER}, {problem}: answered by own model"
                certain = replace(chosen, degraded=(*chosen.degraded, told))
                return certain, _note(policy, routed, other=len(policy.models) - 1, but=problem)
            told_larger = replace(
                found_larger,
                degraded=_not_held(routed),
                released_for=chosen.released_for,
            )
            return told_larger, _note(policy, routed, other=len(policy.models) - 1)
        problem = await asyncio.to_thread(paid_problem)
        if problem:
            # it could not be drawn: the own model was certain
            certain = replace(
                chosen,
                degraded=(*chosen.degraded, f"{ROUTED}{PAID}, {problem}: answered by own model"),
            )
            return certain, _note(policy, routed, other=0, but=problem)
        paid = RouteDecision(
            PAID,
            PAID,
            "",
            "",
            f"{ROUTED}{name}",
            routed.propensity,
            degraded=_not_held(routed),
            released_for=chosen.released_for,
        )
        return paid, _note(policy, routed, other=0)

    def _lapsed(
        self, policy: RoutingPolicy, snapshot: Snapshot, asked: ChatRequest, found: FoundPassages
    ) -> str:
        """Why an author's policy is not used for this question; empty: it is."""
        served = snapshot.policy_of(asked.author)
        stable = served.stable.checkpoint if served and served.stable else ""
        if policy.models[0].model != stable:
            return "the policy's labels are of another version"
        if policy.models[-1].model != self.paid_model:
            return f"the policy's labels are of {policy.models[-1].model}"
        if not snapshot.authors[asked.author].paid:
            return "not for this author (paid = false)"
        if asked.response_format is not None:
            return "JSON is asked for, and no label is of that"
        if found.vector is None:
            return found.missing or "no vector of the question"
        if found.embedder != policy.embedder:
            return "the policy's labels are of another embedder"
        return ""

    async def _step(self, policy: RoutingPolicy) -> int:
        pace, now = self._pace(policy), self.clock()
        if not pace.is_due(now):
            return pace.step
        money = await asyncio.to_thread(self.money, policy.author)
        if money is None:
            return policy.in_force
        return pace.look(now, money, policy.steps, policy.prices, certified=policy.in_force)

    def _pace(self, policy: RoutingPolicy) -> SpendingPace:
        """Of an author; another policy begins anew, its steps are others."""
        return self._paces.setdefault(f"{policy.author} {policy.written_at}", SpendingPace())


def _chance_of_own(routed: RoutingDecision) -> float:
    return routed.propensity if routed.model == 0 else 1.0 - routed.propensity


def _not_held(routed: RoutingDecision) -> tuple[str, ...]:
    return () if routed.margin_held else ("margin not held: the money left allows no more",)


def _cascading(policy: RoutingPolicy, routed: RoutingDecision) -> RoutingNote:
    note = _note(policy, routed, other=len(policy.models) - 1)
    return replace(
        note,
        reason="own answer first",
        cascade=policy.cascade,
        own_usd_per_million=_blended(policy, 0),
    )


def _blended(policy: RoutingPolicy, index: int) -> float:
    model = policy.models[index]
    return (
        PROMPT_SHARE * model.usd_per_million_prompt
        + (1.0 - PROMPT_SHARE) * model.usd_per_million_answer
    )


def _note(
    policy: RoutingPolicy, routed: RoutingDecision, *, other: int, but: str = ""
) -> RoutingNote:
    reason = f"{routed.reason}; but {but}" if but else routed.reason
    return RoutingNote(reason, routed.gain, policy.models[other].name, _blended(policy, other))
