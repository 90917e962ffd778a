"""Rule: the base model answers with the author's passages if no other version can."""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.traffic_split import answering_arm, draw_of
from twin_resources.gateway.routing.variants import may_pay
from twin_resources.registry.route_names import BASE, PAID


def base(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the base model, with the versions that should have answered in `degraded`."""
    problem = ""
    is_down = draw_of(request, snapshot).drawn != BASE
    if is_down and may_pay(snapshot, request.asked.author):
        problem = f"{PAID}, {request.paid_problem}"
    return answering_arm(request, snapshot, BASE, problem=problem)
