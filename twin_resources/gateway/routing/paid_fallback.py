"""Rule: while no server of the drawn version is ready, the paid model answers, if allowed."""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.traffic_split import draw_of
from twin_resources.gateway.routing.variants import arm_of, may_pay, paid
from twin_resources.registry.route_names import BASE, DOWN, PAID


def paid_fallback(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the paid model instead of the base model, for an author with a version."""
    decision = draw_of(request, snapshot)
    is_down = decision.drawn != BASE and decision.answering in {None, BASE}
    if not is_down or request.paid_problem or not may_pay(snapshot, request.asked.author):
        return None
    return paid(
        f"{DOWN}{PAID}",
        degraded=(f"{decision.drawn} not ready: answered by {PAID}",),
        prose=arm_of(snapshot, request.asked.author, "stable").prose,
    )
