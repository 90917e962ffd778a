"""Apply the routing rules in order; the first decision is used.

Scope: the simple rules, the order of all rules, and the permission check before them. Out of scope:
the author's fitted policy (`fitted_policy.py`). A rule has the type
`(request, snapshot) -> RouteDecision | None` and a line in `RULES`.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.authors.answer_forms import NO_MODEL_REASON, ProseRelease
from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest, RoutingRule
from twin_resources.gateway.routing.decision_builders import (
    decision_for_arm,
    is_paid_allowed,
    not_ready_refusal,
    paid_decision,
)
from twin_resources.gateway.routing.fitted_policy import route_by_policy
from twin_resources.gateway.routing.model_names import check_access
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.traffic_split import decision_if_serving, draw_for_request
from twin_resources.registry.route_names import (
    BASE,
    FALLBACK_PREFIX,
    PAID,
    QUOTES,
    ROUTED_PREFIX,
)


def route_by_alias(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the version that the request names (`twin/<author>@stable`).

    `@voice` does not name a version; the policy chooses the version that writes the draft.

    Raises:
        RefusedError: 503 if its server is not ready.
    """
    alias = request.chat_request.alias
    if not request.chat_request.has_named_version:
        return None
    if alias == PAID:
        return paid_decision(f"alias:{PAID}")
    decision = decision_for_arm(
        snapshot, request.chat_request.author, alias, route=f"alias:{alias}"
    )
    if not snapshot.is_ready(decision.server_key):
        raise not_ready_refusal(request.chat_request, decision.server_key)
    return decision


def route_to_canary(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the canary for readers who were drawn for it; it never replaces another version."""
    return decision_if_serving(request, snapshot, "canary")


def route_to_stable(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the stable version if it was drawn, or replaces a canary without a server."""
    return decision_if_serving(request, snapshot, "stable")


def route_to_paid_fallback(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the paid model instead of the base model while no server of the drawn arm is ready."""
    draw = draw_for_request(request, snapshot)
    is_down = draw.drawn_arm != BASE and draw.serving_arm in {None, BASE}
    author = request.chat_request.author
    if not is_down or request.paid_problem or not is_paid_allowed(snapshot, author):
        return None
    return paid_decision(
        f"{FALLBACK_PREFIX}{PAID}",
        degraded=(f"{draw.drawn_arm} not ready: answered by {PAID}",),
        prose=decision_for_arm(snapshot, author, "stable").prose_release,
    )


def route_to_base(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the base model; `degraded` names the versions that should have answered."""
    problem = ""
    is_down = draw_for_request(request, snapshot).drawn_arm != BASE
    if is_down and is_paid_allowed(snapshot, request.chat_request.author):
        problem = f"{PAID}, {request.paid_problem}"
    return decision_if_serving(request, snapshot, BASE, problem=problem)


def route_to_quotes(request: RouteRequest, _snapshot: Snapshot) -> RouteDecision | None:
    """Return a decision without a model, or None for a draft or JSON, which need one."""
    if request.chat_request.alias or request.chat_request.response_format is not None:
        return None
    no_release = ProseRelease(NO_MODEL_REASON)
    return RouteDecision(
        QUOTES, QUOTES, "", "", QUOTES, 1.0, (NO_MODEL_REASON,), prose_release=no_release
    )


RULES: tuple[RoutingRule, ...] = (
    route_by_alias,
    route_by_policy,
    route_to_canary,
    route_to_stable,
    route_to_paid_fallback,
    route_to_base,
    route_to_quotes,
)


def choose_version(request: RouteRequest, snapshot: Snapshot) -> RouteDecision:
    """Choose the version that answers.

    Raises:
        RefusedError: 404 if the author or alias does not exist, 403 if this key may not use it, 503
            if no server is ready.
    """
    check_access(snapshot, request.chat_request, request.key)
    for rule in RULES:
        decision = rule(request, snapshot)
        if decision is not None:
            return decision
    drawn_arm = draw_for_request(request, snapshot).drawn_arm
    raise not_ready_refusal(
        request.chat_request,
        decision_for_arm(snapshot, request.chat_request.author, drawn_arm).server_key,
    )


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
