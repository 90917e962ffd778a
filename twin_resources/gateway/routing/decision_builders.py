"""Build the routing decision for an arm, a version or the paid model.

Scope: converting an entry of the policy to its decision. Out of scope: the draw between arms
(`traffic_split.py`), the rules.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.access.refusals import RefusedError
from twin_resources.authors.answer_forms import NO_VERSION_REASON, ProseRelease
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.registry.policy import AuthorPolicy, ServedVersion
from twin_resources.registry.route_names import BASE, PAID


def decision_for_arm(
    snapshot: Snapshot,
    author: str,
    arm: str,
    *,
    route: str = "",
    propensity: float = 1.0,
    degraded: tuple[str, ...] = (),
) -> RouteDecision:
    """Return the decision for an arm (`stable`, `canary`, `base`), even if its server is not ready.

    Args:
        route: name of the route, or empty for the name of the arm.
    """
    version = served_version(snapshot.get_author_policy(author), arm)
    if version is None:
        no_release = ProseRelease(NO_VERSION_REASON)
        return RouteDecision(
            BASE, BASE, "", "", route or arm, propensity, degraded, prose_release=no_release
        )
    return RouteDecision(
        server_key=f"{author}/v{version.version}",
        version=f"v{version.version}",
        checkpoint=version.checkpoint,
        template=version.template,
        route=route or arm,
        propensity=propensity,
        degraded=degraded,
        prose_release=version.prose,
        is_tuned=version.kind == "tuned",
        is_elsewhere=version.is_elsewhere,
        provider=version.provider,
    )


def served_version(policy: AuthorPolicy | None, arm: str) -> ServedVersion | None:
    """Return the version of an arm, or None if the base model answers for it."""
    if policy is None or arm == BASE:
        return None
    return policy.stable if arm == "stable" else policy.canary


def paid_decision(
    route: str,
    *,
    degraded: tuple[str, ...] = (),
    prose: ProseRelease | None = None,
) -> RouteDecision:
    """Return the decision for the paid model.

    Args:
        prose: prose release of the version that it replaces; None if it replaces no version.
    """
    release = prose or ProseRelease()
    return RouteDecision(PAID, PAID, "", "", route, 1.0, degraded, prose_release=release)


def is_paid_allowed(snapshot: Snapshot, author: str) -> bool:
    """Return whether the paid model may answer for an author if the client does not name it."""
    entry = snapshot.authors.get(author)
    return snapshot.has_paid_route and entry is not None and entry.paid


def not_ready_refusal(chat_request: ChatRequest, server_key: str) -> RefusedError:
    """Return the refusal of a request for which no server is ready."""
    return RefusedError(
        503,
        "no_server_ready",
        tried=f"answer with {chat_request.model}",
        found=f"the model server {server_key!r} is not ready",
        next_step="try again in a few seconds; `twin status` and the log `models` show the reason",
    )
