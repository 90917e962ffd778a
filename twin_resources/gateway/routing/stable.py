"""Rule: the stable version, drawn or in the place of a canary without a server."""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.traffic_split import answering_arm


def stable(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """The stable version; it says which arm it stands in for."""
    return answering_arm(request, snapshot, "stable")
