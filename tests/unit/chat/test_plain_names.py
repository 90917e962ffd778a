"""What a person reads instead of the system's short names."""

from __future__ import annotations

import pytest

from twin_resources.page.plain_names import (
    route_name,
    score_name,
    version_name,
)


@pytest.mark.parametrize(
    ("version", "plain"),
    [("v12", "version 12"), ("base", "the base model"), ("v1-odd", "v1-odd"), ("", "")],
)
def test_versions(version: str, plain: str) -> None:
    assert version_name(version) == plain


@pytest.mark.parametrize(
    ("route", "plain"),
    [
        ("stable", "as released"),
        ("canary", "on trial"),
        ("alias:base", "chosen by the reader"),
        ("unheard-of", "unheard-of"),
    ],
)
def test_routes(route: str, plain: str) -> None:
    assert route_name(route) == plain


def test_scores() -> None:
    assert score_name("judge:support@26fd8413b998") == "support (judge)"
    assert score_name("quote_score") == "quote score"
