"""The plain names that replace the short names of the system."""

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
def test_version_names(version: str, plain: str) -> None:
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
def test_route_names(route: str, plain: str) -> None:
    assert route_name(route) == plain


def test_score_names() -> None:
    assert score_name("judge:support@26fd8413b998") == "support (judge)"
    assert score_name("quote_score") == "quote score"
