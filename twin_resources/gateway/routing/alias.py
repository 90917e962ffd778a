"""Rule: a request that names an alias (`twin/<author>@stable`) gets that version or a refusal.

`@voice` names no version: the policy chooses the version that writes the draft.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.variants import arm_of, not_ready, paid
from twin_resources.registry.route_names import PAID


def alias(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the version of the alias.

    Raises:
        Refused: 503 its server is not ready.
    """
    name = request.asked.alias
    if not request.asked.names_version:
        return None
    if name == PAID:
        return paid(f"alias:{PAID}")
    decision = arm_of(snapshot, request.asked.author, name, route=f"alias:{name}")
    if not snapshot.is_ready(decision.server_key):
        raise not_ready(request.asked, decision.server_key)
    return decision
