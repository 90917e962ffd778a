"""Rule: who names an alias (`twin/<author>@stable`) gets what was named, or a refusal.

`@voice` names no version: the policy chooses who writes the draft.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.variants import arm_of, not_ready, paid
from twin_resources.registry.route_names import PAID


def alias(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """The version of the alias.

    Raises:
        Refused: 503 its server is not ready.
    """
    named = request.asked.alias
    if not request.asked.names_version:
        return None
    if named == PAID:
        return paid(f"alias:{PAID}")
    decision = arm_of(snapshot, request.asked.author, named, route=f"alias:{named}")
    if not snapshot.is_ready(decision.server_key):
        raise not_ready(request.asked, decision.server_key)
    return decision
