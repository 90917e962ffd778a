"""Apply the routing rules in order; the first decision is used.

Scope: the order, and the check of permissions before it. Out of scope: a rule (its own file,
`(request, snapshot) -> RouteDecision | None`, and a line in `RULES`).
"""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.alias import alias
from twin_resources.gateway.routing.base import base
from twin_resources.gateway.routing.canary import canary
from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest, RoutingRule
from twin_resources.gateway.routing.learned import learned
from twin_resources.gateway.routing.model_names import check_reach
from twin_resources.gateway.routing.paid_fallback import paid_fallback
from twin_resources.gateway.routing.posts_alone import posts_alone
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.stable import stable
from twin_resources.gateway.routing.traffic_split import draw_of
from twin_resources.gateway.routing.variants import arm_of, not_ready
from twin_resources.registry.route_names import BASE, ROUTED

RULES: tuple[RoutingRule, ...] = (
    alias,
    learned,
    canary,
    stable,
    paid_fallback,
    base,
    posts_alone,
)


def choose(request: RouteRequest, snapshot: Snapshot) -> RouteDecision:
    """Choose the version that answers.

    Raises:
        Refused: 404 no such author or alias, 403 not for this key, 503 no server is ready.
    """
    check_reach(snapshot, request.asked, request.key)
    for rule in RULES:
        decision = rule(request, snapshot)
        if decision is not None:
            return decision
    drawn = draw_of(request, snapshot).drawn
    raise not_ready(request.asked, arm_of(snapshot, request.asked.author, drawn).server_key)


def fallback_of(snapshot: Snapshot, author: str, chosen: RouteDecision) -> RouteDecision | None:
    """Return the version that answers if the chosen one fails and that is ready, or None.

    The stable version replaces a drawn canary or a routed paid model. The base model replaces an
    answer model at another address. Other arms, and a canary that the client named, have no
    fallback.
    """
    policy = snapshot.policy_of(author)
    if policy is None or policy.stable is None:
        return None
    if chosen.route == "stable" and chosen.is_elsewhere:
        arm = BASE  # that server is not managed here and is checked only every 15 s
    elif chosen.route == "canary" or chosen.route.startswith(ROUTED):
        arm = "stable"
    else:
        return None
    decision = arm_of(snapshot, author, arm)
    return decision if snapshot.is_ready(decision.server_key) else None
