"""Translate the system's short names of versions, routes and scores into plain ones.

Scope: one table per kind; other names are unchanged. Out of scope: HTML, and the definition of the
names (`registry/route_names.py`, `ledger/scores.py`).
"""
# pyright: strict

from __future__ import annotations

import re

_VERSIONS = {
    "base": "the base model",
    "paid": "the paid model",
    "quotes": "quotations alone",
    "front_desk": "the program itself",
}
_ROUTES = {
    "": "as released",
    "stable": "as released",
    "canary": "on trial",
    "anchor": "an earlier version, to compare",
    "base": "base model",
    "paid": "paid model",
    "quotes": "quotations alone",
    "front_desk": "the program itself",
}
_ROUTE_PREFIXES = {
    "alias:voice": "a draft",
    "alias:": "chosen by the reader",
    "divert:": "passed on when busy",
    "routed:": "chosen by the router",
    "down:": "own servers down",
}
_TUNED_VERSION = re.compile(r"v(\d+)")
_REVISION = re.compile(r"@[0-9a-f]{6,}$")


def version_name(version: str) -> str:
    """Translate a version, such as `v3` to `version 3` or `base` to `the base model`."""
    tuned = _TUNED_VERSION.fullmatch(version)
    return f"version {tuned[1]}" if tuned else _VERSIONS.get(version, version)


def route_name(route: str) -> str:
    """Translate a route, such as `stable` to `as released`."""
    prefix_name = next(
        (words for start, words in _ROUTE_PREFIXES.items() if route.startswith(start)), ""
    )
    return prefix_name or _ROUTES.get(route, route)


def score_name(name: str) -> str:
    """Translate a score, such as `judge:support@26fd8413b998` to `support (judge)`."""
    plain = _REVISION.sub("", name)
    judged = plain.startswith("judge:")
    plain = plain.removeprefix("judge:").replace("_", " ")
    return f"{plain} (judge)" if judged else plain
