"""Choose the version that answers: a named one, the drawn one, a paid model, or none.

A draw is a hash, not a random number: a reader gets the same version all day on every gateway, and
gets a new draw the next day or when the versions change. The logged propensity is the probability
of the version that *answered*, given which servers were ready; off-policy estimates would be wrong
without it.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import accumulate
from typing import TYPE_CHECKING

from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.authors.answer_forms import NO_MODEL_REASON, NO_VERSION_REASON, ProseRelease
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.registry.policy import AuthorPolicy, ServedVersion
from twin_resources.registry.route_names import (
    BASE,
    FALLBACK_PREFIX,
    PAID,
    QUOTES,
    ROUTED_PREFIX,
)

if TYPE_CHECKING:
    from twin_resources.router.policy_file import RoutingPolicy
    from twin_resources.router.routing_decision import RoutingDecision

# A prompt with two passages has about 450 tokens and an answer about 120.
PROMPT_SHARE = 0.8
# Arms that replace a drawn arm without a ready server; never the canary, which is on trial.
_SUBSTITUTES = {"canary": ("stable", BASE), "stable": (BASE,), BASE: ()}


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


def choose_version(
    snapshot: Snapshot,
    chat_request: ChatRequest,
    key: Key,
    day: date,
    *,
    paid_problem: str = "",
    scored_question: ScoredQuestion | None = None,
) -> RouteDecision:
    """Choose the version that answers; `check_access` has admitted the question.

    A named version answers alone; `@voice` names none. The fitted policy may replace the drawn
    version by the paid model. A substitute answers for a drawn arm without a ready server: the
    stable version for a canary, then the paid model if the author allows it, then the base model,
    then quotations without a model.

    Args:
        key: its `reader` makes the draw sticky.
        day: the UTC day of the draw.
        paid_problem: why the paid model cannot be called now, or empty if it can.
        scored_question: the fitted policy's decision; None before retrieval and without a policy.

    Raises:
        RefusedError: 503 if no server is ready.
    """
    author, alias = chat_request.author, chat_request.alias
    if chat_request.has_named_version:
        if alias == PAID:
            return paid_decision(f"alias:{PAID}")
        decision = decision_for_arm(snapshot, author, alias, route=f"alias:{alias}")
        if not snapshot.is_ready(decision.server_key):
            raise _not_ready_refusal(chat_request, decision.server_key)
        return decision
    drawn_arm, serving_arm, propensity = draw_for_reader(snapshot, author, key.reader, day)
    substitution = f"{drawn_arm} not ready" if serving_arm != drawn_arm else ""
    if serving_arm in {"canary", "stable"}:
        decision = decision_for_arm(
            snapshot,
            author,
            serving_arm,
            propensity=propensity,
            degraded=_describe_substitute(serving_arm, substitution),
        )
        if scored_question is None:
            return decision
        return _apply_policy(decision, scored_question, paid_problem)
    is_paid_allowed = snapshot.has_paid_route and snapshot.authors[author].paid
    if drawn_arm != BASE and is_paid_allowed and not paid_problem:
        prose = decision_for_arm(snapshot, author, "stable").prose_release
        degraded = _describe_substitute(PAID, f"{drawn_arm} not ready")
        return paid_decision(f"{FALLBACK_PREFIX}{PAID}", degraded=degraded, prose=prose)
    if serving_arm == BASE:
        problem = f"{PAID}, {paid_problem}" if drawn_arm != BASE and is_paid_allowed else ""
        degraded = _describe_substitute(BASE, problem, substitution)
        return decision_for_arm(snapshot, author, BASE, propensity=propensity, degraded=degraded)
    if not alias and chat_request.response_format is None:  # a draft and JSON need a model
        no_release = ProseRelease(NO_MODEL_REASON)
        return RouteDecision(
            QUOTES, QUOTES, "", "", QUOTES, 1.0, (NO_MODEL_REASON,), prose_release=no_release
        )
    drawn = decision_for_arm(snapshot, author, drawn_arm)
    raise _not_ready_refusal(chat_request, drawn.server_key)


def _describe_substitute(arm: str, *reasons: str) -> tuple[str, ...]:
    return tuple(f"{reason}: answered by {arm}" for reason in reasons if reason)


def _not_ready_refusal(chat_request: ChatRequest, server_key: str) -> RefusedError:
    message = (
        f"{chat_request.model} cannot answer, its model server {server_key!r} is not ready; try "
        "again in a few seconds, and see `twin status` and the log `models`."
    )
    return RefusedError(503, "no_server_ready", message)


def choose_fallback(
    snapshot: Snapshot, author: str, decision: RouteDecision
) -> RouteDecision | None:
    """Return the ready version that answers if the chosen one fails, or None.

    The stable version replaces a drawn canary or a routed paid model. The base model replaces an
    answer model at another address. Other arms, and a canary that the client named, have no
    fallback.
    """
    policy = snapshot.get_author_policy(author)
    if policy is None or policy.stable is None:
        return None
    if decision.route == "stable" and decision.is_elsewhere:
        arm = BASE  # this gateway does not manage that server and checks it only every 15 s
    elif decision.route == "canary" or decision.route.startswith(ROUTED_PREFIX):
        arm = "stable"
    else:
        return None
    fallback = decision_for_arm(snapshot, author, arm)
    return fallback if snapshot.is_ready(fallback.server_key) else None


def decision_for_arm(
    snapshot: Snapshot,
    author: str,
    arm: str,
    *,
    route: str = "",
    propensity: float = 1.0,
    degraded: tuple[str, ...] = (),
) -> RouteDecision:
    """Return the decision for an arm (`stable`, `canary`, `base`), even if its server is not ready.

    Args:
        route: name of the route, or empty for the name of the arm.
    """
    version = served_version(snapshot.get_author_policy(author), arm)
    if version is None:
        no_release = ProseRelease(NO_VERSION_REASON)
        return RouteDecision(
            BASE, BASE, "", "", route or arm, propensity, degraded, prose_release=no_release
        )
    return RouteDecision(
        server_key=f"{author}/v{version.version}",
        version=f"v{version.version}",
        checkpoint=version.checkpoint,
        template=version.template,
        route=route or arm,
        propensity=propensity,
        degraded=degraded,
        prose_release=version.prose,
        is_tuned=version.kind == "tuned",
        is_elsewhere=version.is_elsewhere,
        provider=version.provider,
    )


def served_version(policy: AuthorPolicy | None, arm: str) -> ServedVersion | None:
    """Return the version of an arm, or None if the base model answers for it."""
    if policy is None or arm == BASE:
        return None
    return policy.stable if arm == "stable" else policy.canary


def paid_decision(
    route: str, *, degraded: tuple[str, ...] = (), prose: ProseRelease | None = None
) -> RouteDecision:
    """Return the decision for the paid model.

    Args:
        prose: prose release of the version that it replaces; None if it replaces no version.
    """
    release = prose or ProseRelease()
    return RouteDecision(PAID, PAID, "", "", route, 1.0, degraded, prose_release=release)


def draw_for_reader(
    snapshot: Snapshot, author: str, reader: str, day: date
) -> tuple[str, str | None, float]:
    """Draw an arm that depends only on the reader, the day and the versions.

    Returns:
        The drawn arm; the arm that answers, its substitute if its server is not ready, or None if
        no server is ready; the probability of the arm that answers.
    """
    policy = snapshot.get_author_policy(author)
    weights = arm_weights(policy)
    served = (policy.stable, policy.canary) if policy else ()
    versions = "|".join(str(version.version) for version in served if version)
    digest = hashlib.sha256(f"{reader}|{day.isoformat()}|{versions}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64  # in [0, 1)
    bounds = zip(weights, accumulate(weights.values()), strict=True)
    # Rounding may leave the last bound slightly below 1.
    drawn_arm = next((arm for arm, bound in bounds if point < bound), list(weights)[-1])

    def find_ready_arm(arm: str) -> str | None:
        candidates = (arm, *_SUBSTITUTES[arm])
        keys = {name: decision_for_arm(snapshot, author, name).server_key for name in candidates}
        return next((name for name in candidates if snapshot.is_ready(keys[name])), None)

    serving_arm = find_ready_arm(drawn_arm)
    shares = (share for arm, share in weights.items() if find_ready_arm(arm) == serving_arm)
    return drawn_arm, serving_arm, sum(shares)


def arm_weights(policy: AuthorPolicy | None) -> Mapping[str, float]:
    """Return the weights of the existing arms with sum 1; only base if no version is stable."""
    if policy is None or policy.stable is None:
        return {BASE: 1.0}
    versions = {"stable": policy.stable, "canary": policy.canary}
    weights = {
        arm: weight for arm, weight in policy.weights.items() if weight > 0 and versions.get(arm)
    }
    total_weight = sum(weights.values())
    if total_weight <= 0:
        return {"stable": 1.0}
    return {arm: weights[arm] / total_weight for arm in sorted(weights)}


def _apply_policy(
    own: RouteDecision, scored_question: ScoredQuestion, paid_problem: str
) -> RouteDecision:
    """Return the fitted policy's choice, the drawn version or the paid model, with the reason.

    The policy applies to both the canary and the stable version. Otherwise the canary's trial would
    compare easy questions with all questions.
    """
    policy, routing = scored_question.policy, scored_question.decision
    if routing is None:
        note = RoutingNote(f"not routed: {scored_question.lapse_reason}")
        return replace(own, routing_note=note)
    is_own = routing.model_index == 0
    other = policy.models[1 if is_own else 0]
    note = RoutingNote(
        routing.reason,
        routing.gain,
        other.name,
        PROMPT_SHARE * other.usd_per_million_prompt
        + (1.0 - PROMPT_SHARE) * other.usd_per_million_answer,
    )
    margin = ("margin not held: the remaining budget is too small",)
    deviation = () if routing.is_margin_held else margin
    if is_own:
        return replace(own, degraded=(*own.degraded, *deviation), routing_note=note)
    route = f"{ROUTED_PREFIX}{PAID}"
    if paid_problem:
        reason = f"{route}, {paid_problem}: answered by the author's model"
        note = replace(note, reason=f"{routing.reason}; but {paid_problem}")
        return replace(own, degraded=(*own.degraded, reason), routing_note=note)
    return replace(paid_decision(route), degraded=deviation, routing_note=note)
