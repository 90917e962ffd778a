"""Rule: a prompt class that has fallen (`policy.Reroute`) is answered by the paid model or an older
version.

It comes before the draw: that is no draw, its propensity is 1, and a canary gets no request of such
a class.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.routing.variants import arm_of, paid, serving
from twin_resources.registry.route_names import DIVERTED, PAID


def reroute(request: RouteRequest, snapshot: Snapshot) -> RouteDecision | None:
    """Who answers this class in the stable version's place, if that one can."""
    return _place(request, snapshot)[0]


def why_not_rerouted(request: RouteRequest, snapshot: Snapshot) -> str:
    """Why the one who should answer this class cannot; empty: it can, or nobody should."""
    return _place(request, snapshot)[1]


def _place(request: RouteRequest, snapshot: Snapshot) -> tuple[RouteDecision | None, str]:
    author = request.asked.author
    policy = snapshot.policy_of(author)
    if policy is None or policy.divert is None:
        return None, ""
    place = policy.divert.places.get(request.asked.prompt_class, "")
    if not place:
        return None, ""
    route = f"{DIVERTED}{place}"
    if place == PAID:
        problem = request.paid_problem or ("" if snapshot.has_paid_route else "no paid model")
        if not snapshot.authors[author].paid:
            problem = "not for this author (paid = false)"
        if problem:
            return None, f"{route}, {problem}"
        return paid(route, prose=arm_of(snapshot, author, "stable").prose), ""
    served = policy.divert.versions.get(place)
    if served is None:
        return None, f"{route}, no longer served"
    decision = serving(author, served, route=route)
    if not snapshot.is_ready(decision.server_key):
        return None, f"{route} not ready"
    return decision, ""
