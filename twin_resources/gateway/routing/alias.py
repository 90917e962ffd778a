"""Rule: a request that names an alias (`twin/<author>@stable`) gets that version or a refusal.

`@voice` does not name a version; the policy chooses the version that writes the draft.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.variants import (
    decision_for_arm,
    not_ready_refusal,
    paid_decision,
)
from twin_resources.registry.route_names import PAID


def route_by_alias(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Return the version of the alias.

    Raises:
        RefusedError: 503 if its server is not ready.
    """
    alias = request.chat_request.alias
    if not request.chat_request.names_version:
        return None
    if alias == PAID:
        return paid_decision(f"alias:{PAID}")
    decision = decision_for_arm(
        snapshot, request.chat_request.author, alias, route=f"alias:{alias}"
    )
    if not snapshot.is_ready(decision.server_key):
        raise not_ready_refusal(request.chat_request, decision.server_key)
    return decision
