"""Rule: the stable version answers if it was drawn, or replaces a canary without a server."""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.traffic_split import decision_if_serving


def route_to_stable(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the stable version, with the arm that it replaces in `degraded`."""
    return decision_if_serving(request, snapshot, "stable")
