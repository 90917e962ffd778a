"""Define the input and output of a routing rule: a request, and the version that answers it.

Scope: the values and a rule's type. Out of scope: the rules and their order (`rules.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from twin_resources.access.keys import Key
from twin_resources.authors.answer_forms import ProseRelease
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.snapshot import Snapshot

if TYPE_CHECKING:
    from twin_resources.router.policy_file import RoutingPolicy
    from twin_resources.router.routing_decision import RoutingDecision


@dataclass(frozen=True)
class ScoredQuestion:
    """The decision of an author's fitted policy on one question (`question_routing.py`).

    Attributes:
        policy: the fitted policy.
        lapse_reason: why the policy is not used for this question, one clause, or empty if it is.
        decision: the policy's decision, or None if it has lapsed.
    """

    policy: RoutingPolicy
    lapse_reason: str = ""
    decision: RoutingDecision | None = None


@dataclass(frozen=True)
class RouteRequest:
    """The input of the rules.

    Attributes:
        chat_request: the reader's request, which names author and alias.
        key: the client's key; its `reader` makes the draw sticky.
        day: the UTC day of the draw.
        paid_problem: why the paid model cannot be called now, or empty if it can. None before the
            check, which counts as empty.
        scored_question: the fitted policy's decision; None before retrieval and without a fitted
            policy.
    """

    chat_request: ChatRequest
    key: Key
    day: date
    paid_problem: str | None = None
    scored_question: ScoredQuestion | None = None


@dataclass(frozen=True)
class RoutingNote:
    """The reason that this model answers, for the trace, `twin explain` and the page.

    Attributes:
        reason: one clause.
        gain: predicted gain of the paid model over the home's, or None if nothing was scored.
        other_model: the model that was not chosen, the paid one or the home's, or empty.
        other_usd_per_million: that model's price per million tokens, for the usual mix of prompt
            and answer tokens.
    """

    reason: str
    gain: float | None = None
    other_model: str = ""
    other_usd_per_million: float = 0.0

    def other_usd(self, tokens: int) -> float:
        """Return the estimated cost of the other model for these tokens, in US dollars."""
        return tokens * self.other_usd_per_million / 1e6


@dataclass(frozen=True)
class RouteDecision:
    """The version that answers.

    Attributes:
        server_key: key of `servers.json` and name of the model group in LiteLLM's router.
        version: `v3`, `base` or `paid`.
        checkpoint: hash of its checkpoint, or empty for base and paid.
        template: hash of the prompt template of its training, or empty for the default one.
        route: the arm that answers (`stable`, `canary`, `anchor`, `base`). It is `alias:<arm>` (or
            `alias:paid`) if the client named it, so that estimates about the policy exclude it, and
            `alias:voice` for a draft. It is `routed:paid` if the author's routing policy chose it,
            and `down:paid` while the home's model has no ready server.
        propensity: probability of this arm under the policy, given the ready servers; 1 for an
            alias.
        degraded: deviations from the policy, or empty.
        engine: software that computes the answer (`Server`).
        prose_release: whether its prose may be shown if the client did not name it.
        is_tuned: whether it was trained on the author's posts, unlike base, paid and answer models.
        is_elsewhere: whether a server at an address that the author configured answers. Its time
            and price are not measured.
        provider: that address if it is on another machine.
        routing_note: the fitted policy's reason, if the policy was used.
    """

    server_key: str
    version: str
    checkpoint: str
    template: str
    route: str
    propensity: float
    degraded: tuple[str, ...] = ()
    engine: str = ""
    prose_release: ProseRelease = field(default_factory=ProseRelease)
    is_tuned: bool = False
    is_elsewhere: bool = False
    provider: str = ""
    routing_note: RoutingNote | None = None


RoutingRule = Callable[[RouteRequest, Snapshot], RouteDecision | None]
"""A pure function that returns the version that answers, or None to try the next rule. It may raise
`RefusedError`."""
