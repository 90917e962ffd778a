"""Rule: the canary answers the readers who were drawn for it."""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.traffic_split import decision_if_serving


def route_to_canary(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the canary if it was drawn; it never replaces another version."""
    return decision_if_serving(request, snapshot, "canary")
