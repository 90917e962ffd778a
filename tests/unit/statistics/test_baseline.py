"""Test the text about arming and durations in words."""

from __future__ import annotations

import pytest

from twin_resources.statistics.baseline import describe_arming, format_duration


def test_the_text_about_arming_has_the_remaining_time() -> None:
    assert describe_arming(37, 500, per_day=1.09) == "arming 37/500, about 14 months at your rate"
    assert (
        describe_arming(1_200, 2_000, per_day=80)
        == "arming 1,200/2,000, about 10 days at your rate"
    )
    assert describe_arming(0, 500, per_day=None) == "arming 0/500, no values yet for an estimate"
    assert describe_arming(3, 500, per_day=None) == "arming 3/500"
    assert describe_arming(500, 500, per_day=9.0).startswith(
        "arming 500/500, no class of requests has"
    )


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (0.01, "1 hour"),
        (1.5, "36 hours"),
        (2.1, "2 days"),
        (60, "60 days"),
        (70, "2 months"),
        (425, "14 months"),
        (2_200, "6 years"),
    ],
)
def test_durations_are_in_words(days: float, words: str) -> None:
    assert format_duration(days) == words
