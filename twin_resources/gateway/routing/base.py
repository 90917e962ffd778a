"""Rule: the base model answers with the author's passages if no other version can."""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.traffic_split import decision_if_serving, draw_for_request
from twin_resources.gateway.routing.variants import allows_paid
from twin_resources.registry.route_names import BASE, PAID


def route_to_base(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the base model; `degraded` names the versions that should have answered."""
    problem = ""
    is_down = draw_for_request(request, snapshot).drawn_arm != BASE
    if is_down and allows_paid(snapshot, request.chat_request.author):
        problem = f"{PAID}, {request.paid_problem}"
    return decision_if_serving(request, snapshot, BASE, problem=problem)
