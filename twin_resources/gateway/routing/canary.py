"""Rule: the version on trial, for the readers who were drawn for it."""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.traffic_split import answering_arm


def canary(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """The canary where it was drawn; it stands in for nobody."""
    return answering_arm(request, snapshot, "canary")
