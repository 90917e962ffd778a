"""Split traffic between the stable version and the canary; replace an arm without a server.

Scope: weights, the draw, the propensity of the answering arm. Out of scope: the rules that use the
draw.

A draw is a hash, not a random number: a reader gets the same version all day on every gateway, and
gets a new draw the next day or when the versions change. The logged propensity is the probability
of the version that *answered*, given which servers were ready; off-policy estimates would be wrong
without it.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.decision_builders import decision_for_arm
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.registry.policy import AuthorPolicy
from twin_resources.registry.route_names import BASE

# Arms that replace a drawn arm without a ready server; never the canary, which is on trial.
_SUBSTITUTES = {"canary": ("stable", BASE), "stable": (BASE,), BASE: ()}


@dataclass(frozen=True)
class ArmDraw:
    """The draw of one request.

    Attributes:
        drawn_arm: the drawn arm.
        serving_arm: the drawn arm or its substitute, or None if no server is ready.
        propensity: probability of the answering arm.
    """

    drawn_arm: str
    serving_arm: str | None
    propensity: float


def draw_for_request(request: RouteRequest, snapshot: Snapshot) -> ArmDraw:
    """Draw an arm for a request; without a stable version it is always the base model."""
    author = request.chat_request.author
    policy = snapshot.get_author_policy(author)
    weights = arm_weights(policy)
    versions = _version_names(policy)
    drawn_arm = draw_arm(weights, reader=request.key.reader, day=request.day, versions=versions)
    serving_arm = _find_ready_arm(snapshot, author, drawn_arm)
    propensity = sum(
        weight
        for arm, weight in weights.items()
        if _find_ready_arm(snapshot, author, arm) == serving_arm
    )
    return ArmDraw(drawn_arm, serving_arm, propensity)


def decision_if_serving(
    request: RouteRequest, snapshot: Snapshot, arm: str, *, problem: str = ""
) -> RouteDecision | None:
    """Return the decision for `arm` if it was drawn or replaces the drawn arm, else None.

    Args:
        problem: why a different model did not answer instead, one clause.
    """
    draw = draw_for_request(request, snapshot)
    if draw.serving_arm != arm:
        return None
    reasons = (problem, "" if arm == draw.drawn_arm else f"{draw.drawn_arm} not ready")
    return decision_for_arm(
        snapshot,
        request.chat_request.author,
        arm,
        propensity=draw.propensity,
        degraded=tuple(f"{reason}: answered by {arm}" for reason in reasons if reason),
    )


def arm_weights(policy: AuthorPolicy | None) -> dict[str, float]:
    """Return the weights of the existing arms with sum 1; only base if no version is stable."""
    if policy is None or policy.stable is None:
        return {BASE: 1.0}
    versions = {"stable": policy.stable, "canary": policy.canary}
    weights = {
        arm: weight for arm, weight in policy.weights.items() if weight > 0 and versions.get(arm)
    }
    total_weight = sum(weights.values())
    if total_weight <= 0:
        return {"stable": 1.0}
    return {arm: weights[arm] / total_weight for arm in sorted(weights)}


def draw_arm(weights: Mapping[str, float], *, reader: str, day: date, versions: str) -> str:
    """Draw an arm that depends only on the reader, the day and the versions.

    Args:
        weights: weights by arm, with sum 1.
        reader: hashed key.
        day: the UTC day.
        versions: names of the served versions; a change causes a new draw.
    """
    digest = hashlib.sha256(f"{reader}|{day.isoformat()}|{versions}".encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64  # in [0, 1)
    cumulative_weight = 0.0
    arm = BASE
    for arm, weight in weights.items():
        cumulative_weight += weight
        if point < cumulative_weight:
            return arm
    return arm  # rounding may leave the sum slightly below 1


def _find_ready_arm(snapshot: Snapshot, author: str, drawn_arm: str) -> str | None:
    for arm in (drawn_arm, *_SUBSTITUTES[drawn_arm]):
        if snapshot.is_ready(decision_for_arm(snapshot, author, arm).server_key):
            return arm
    return None


def _version_names(policy: AuthorPolicy | None) -> str:
    served_versions = (policy.stable, policy.canary) if policy else ()
    return "|".join(str(version.version) for version in served_versions if version)
