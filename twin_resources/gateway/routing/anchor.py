"""Rule: an earlier version, for the few readers whose scores are compared with all the others'."""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.draw import answering_arm
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.registry.policy import ANCHOR


def anchor(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """The anchor where it was drawn; it stands in for nobody."""
    return answering_arm(request, snapshot, ANCHOR)
