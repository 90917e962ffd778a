"""Test durations in words."""

from __future__ import annotations

import pytest

from twin_resources.statistics.warm_up import format_days


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
    assert format_days(days) == words
