"""Baselines: classes, days, readers, cap, floor, later batches, and what arming says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.statistics.settled_values import stream_of
from twin_resources.statistics.baseline import (
    HIGHEST,
    arming,
    class_bounds,
    duration,
)
from twin_resources.statistics.bounds import clopper_pearson_lower


def bounds_of(classes: list[str], values: list[float]) -> dict[str, float]:
    return class_bounds(stream_of(values, classes=classes))


def test_each_class_gets_its_share_of_delta() -> None:
    classes = ["how_to"] * 100 + ["fact"] * 100
    found = bounds_of(classes, [1.0] * 80 + [0.0] * 20 + [1.0] * 50 + [0.0] * 50)
    assert found == {
        "fact": clopper_pearson_lower(50, 100, delta=0.025),
        "how_to": clopper_pearson_lower(80, 100, delta=0.025),
    }


def test_rare_classes_have_no_bound_and_no_share() -> None:
    """Pooled, a class of .4 that became less rare raised an alarm in 89 % of streams."""
    found = bounds_of(["how_to"] * 100 + ["fact"] * 59 + ["opinion"] * 40, [1.0] * 199)
    assert found == {"how_to": clopper_pearson_lower(100, 100, delta=0.05)}
    assert bounds_of(["a"] * 10 + ["b"] * 10, [1.0] * 20) == {}


def test_values_of_a_day_are_not_so_many_opinions() -> None:
    """Ten days, each all good or all bad: what Clopper and Pearson make of 500 values is .77."""
    values = [float(day % 5 != 0) for day in range(10) for _ in range(50)]
    [of_values] = class_bounds(stream_of(values)).values()
    [of_days] = class_bounds(stream_of(values, per_day=50)).values()
    assert of_values > 0.75
    assert of_days < 0.58
    [of_a_day] = class_bounds(stream_of(values, per_day=500)).values()
    assert of_a_day == 0.0  # of other days nothing is known


def test_readers_who_return_are_not_so_many_opinions() -> None:
    values = stream_of([float(reader != 0) for _ in range(100) for reader in range(5)])
    named = [replace(value, reader=f"r{value.sequence % 5}") for value in values]
    assert class_bounds(named)["how_to"] < 0.5 < class_bounds(values)["how_to"]


def test_bounds_stop_at_99() -> None:
    found = class_bounds(stream_of([1.0] * 2_000))
    assert found == {"how_to": HIGHEST}


def test_arming_says_how_long() -> None:
    assert arming(37, 500, per_day=1.09) == "arming 37/500, about 14 months at your rate"
    assert arming(1_200, 2_000, per_day=80) == "arming 1,200/2,000, about 10 days at your rate"
    assert arming(0, 500, per_day=None) == "arming 0/500, no values yet to tell how long"
    assert arming(3, 500, per_day=None) == "arming 3/500"
    assert arming(500, 500, per_day=9.0).startswith("arming 500/500, no class of requests has")


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
def test_durations(days: float, words: str) -> None:
    assert duration(days) == words
