"""Rule: while no server of the drawn version is ready, the paid model answers, if allowed."""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.traffic_split import draw_for_request
from twin_resources.gateway.routing.variants import allows_paid, decision_for_arm, paid_decision
from twin_resources.registry.route_names import BASE, FALLBACK_PREFIX, PAID


def route_to_paid_fallback(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the paid model instead of the base model, for an author with a stable version."""
    draw = draw_for_request(request, snapshot)
    is_down = draw.drawn_arm != BASE and draw.serving_arm in {None, BASE}
    if (
        not is_down
        or request.paid_problem
        or not allows_paid(snapshot, request.chat_request.author)
    ):
        return None
    return paid_decision(
        f"{FALLBACK_PREFIX}{PAID}",
        degraded=(f"{draw.drawn_arm} not ready: answered by {PAID}",),
        prose=decision_for_arm(snapshot, request.chat_request.author, "stable").prose_release,
    )
