"""Apply the routing rules in order; the first decision is used.

Scope: the order, and the check of permissions before it. Out of scope: a rule (its own file,
`(request, snapshot) -> RouteDecision | None`, and a line in `RULES`).
"""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.alias import route_by_alias
from twin_resources.gateway.routing.base import route_to_base
from twin_resources.gateway.routing.canary import route_to_canary
from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest, RoutingRule
from twin_resources.gateway.routing.learned import route_by_policy
from twin_resources.gateway.routing.model_names import check_access
from twin_resources.gateway.routing.paid_fallback import route_to_paid_fallback
from twin_resources.gateway.routing.posts_alone import route_to_quotes
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.stable import route_to_stable
from twin_resources.gateway.routing.traffic_split import draw_for_request
from twin_resources.gateway.routing.variants import decision_for_arm, not_ready_refusal
from twin_resources.registry.route_names import BASE, ROUTED_PREFIX

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
        RefusedError: 404 if there is no such author or alias, 403 if this key may not use it, 503
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


def choose_fallback(snapshot: Snapshot, author: str, chosen: RouteDecision) -> RouteDecision | None:
    """Return the version that answers if the chosen one fails and that is ready, or None.

    The stable version replaces a drawn canary or a routed paid model. The base model replaces an
    answer model at another address. Other arms, and a canary that the client named, have no
    fallback.
    """
    policy = snapshot.get_author_policy(author)
    if policy is None or policy.stable is None:
        return None
    if chosen.route == "stable" and chosen.is_elsewhere:
        arm = BASE  # that server is not managed here and is checked only every 15 s
    elif chosen.route == "canary" or chosen.route.startswith(ROUTED_PREFIX):
        arm = "stable"
    else:
        return None
    decision = decision_for_arm(snapshot, author, arm)
    return decision if snapshot.is_ready(decision.server_key) else None
