"""What a routing rule is given and what it gives: a request, and the version that answers it.

Scope: the values and a rule's type. Out of scope: any rule, their order
(`rules.py`).
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
    """What the fitted policy of its author says of one question (`question_routing.py`).

    Attributes:
        policy: the fitted one.
        lapsed: why it is not used for this question, one clause; empty: it is.
        routed: its word; None where it has lapsed.
        step: index of the operating point that the money left allows.
    """

    policy: RoutingPolicy
    lapsed: str = ""
    routed: RoutingDecision | None = None
    step: int = -1


@dataclass(frozen=True)
class RouteRequest:
    """What the rules know of a request.

    Attributes:
        asked: as the reader sent it; names author and alias.
        key: who asks; its `reader` makes the draw sticky.
        day: the UTC day of the draw.
        paid_problem: why the paid model cannot be asked now; empty: it can; None: nobody has looked
            yet, and it is taken as if it could.
        scored: None until the passages were looked for, and where no policy was fitted.
    """

    asked: ChatRequest
    key: Key
    day: date
    paid_problem: str | None = None
    scored: ScoredQuestion | None = None


@dataclass(frozen=True)
class RoutingNote:
    """Why this model answers: for trace, `twin explain` and the page.

    Attributes:
        reason: one clause.
        gain: predicted, of the paid model over the own one; None: nothing was scored.
        other: who else could have answered: the paid model, or the own one in its place; empty:
            nobody.
        other_usd_per_million: of that one's tokens, in the mix that readers cause.
    """

    reason: str
    gain: float | None = None
    other: str = ""
    other_usd_per_million: float = 0.0

    def other_usd(self, tokens: int) -> float:
        """What the other would have asked for so many tokens, about, US dollars."""
        return tokens * self.other_usd_per_million / 1e6


@dataclass(frozen=True)
class RouteDecision:
    """The version that answers.

    Attributes:
        server_key: key of `servers.json` and name of the model group in LiteLLM's router.
        version: `v3`, `base` or `paid`.
        checkpoint: its hash, or empty for base and paid.
        template: hash of the prompt template it was trained with; empty: the default one.
        route: the arm that answers (`stable`, `canary`, `anchor`, `base`); `alias:<arm>` (also
            `alias:paid`) when the client named it, so that estimates about the policy leave it out,
            and `alias:voice` of a draft;
            `routed:paid` when the author's routing policy chose it; `down:paid` while the own
            model's server is down.
        propensity: probability of this arm under the policy, given the ready servers; 1 for an
            alias.
        degraded: why this is not what the policy wanted; empty when it is.
        engine: what computes the answer (`Server`).
        prose: whether its prose may be shown where the client did not name it.
        is_tuned: trained on the author's posts; not the base model, a paid or an answer model.
        is_elsewhere: an address that the author named answers: its time is not ours, nor its price
            known. provider: that address, where it is not on this machine.
        why: of the fitted policy, where it was asked.
    """

    server_key: str
    version: str
    checkpoint: str
    template: str
    route: str
    propensity: float
    degraded: tuple[str, ...] = ()
    engine: str = ""
    prose: ProseRelease = field(default_factory=ProseRelease)
    is_tuned: bool = False
    is_elsewhere: bool = False
    provider: str = ""
    why: RoutingNote | None = None


RoutingRule = Callable[[RouteRequest, Snapshot], RouteDecision | None]
"""Pure: who answers a request, or None: the next rule is asked. It may refuse (`Refused`)."""
