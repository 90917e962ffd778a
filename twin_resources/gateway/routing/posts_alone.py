"""Rule: while no model server is ready, the answer quotes the posts, which needs no model."""
# pyright: strict

from __future__ import annotations

from twin_resources.authors.answer_forms import NO_MODEL_REASON, ProseRelease
from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.registry.route_names import QUOTES


def route_to_quotes(request: RouteRequest, _snapshot: Snapshot) -> RouteDecision | None:
    """Return a decision without a model, or None for a draft or JSON, which need one."""
    if request.chat_request.alias or request.chat_request.response_format is not None:
        return None
    no_release = ProseRelease(NO_MODEL_REASON)
    return RouteDecision(
        QUOTES, QUOTES, "", "", QUOTES, 1.0, (NO_MODEL_REASON,), prose_release=no_release
    )
