"""Translate internal names of versions, routes and scores into plain English.

Scope: one table for each kind of name; unknown names stay unchanged.
Out of scope: HTML, defining the names (`registry/route_names.py`, `ledger/scores.py`).
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
    "base": "base model",
    "paid": "paid model",
    "quotes": "quotations alone",
    "front_desk": "the program itself",
}
_ROUTE_PREFIXES = {
    "alias:voice": "a draft",
    "alias:": "chosen by the reader",
    "routed:": "chosen by the router",
    "down:": "own servers down",
}
_TUNED_VERSION = re.compile(r"v(\d+)")
_REVISION = re.compile(r"@[0-9a-f]{6,}$")


def translate_version(version: str) -> str:
    """Translate a version, such as `v3` to `version 3` or `base` to `the base model`."""
    match = _TUNED_VERSION.fullmatch(version)
    return f"version {match[1]}" if match else _VERSIONS.get(version, version)


def translate_route(route: str) -> str:
    """Translate a route, such as `stable` to `as released`."""
    prefix_name = next(
        (words for prefix, words in _ROUTE_PREFIXES.items() if route.startswith(prefix)), ""
    )
    return prefix_name or _ROUTES.get(route, route)


def translate_score(name: str) -> str:
    """Translate a score, such as `judge:support@26fd8413b998` to `support (judge)`."""
    label = _REVISION.sub("", name)
    is_judge_score = label.startswith("judge:")
    label = label.removeprefix("judge:").replace("_", " ")
    return f"{label} (judge)" if is_judge_score else label
