"""Baselines: classes, days, readers, cap, floor, later batches, and what arming says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.statistics.settled_values import stream_of, thumbs, unit_interval
from twin_resources.statistics.baseline import (
    HIGHEST,
    ClassBounds,
    arming,
    certify,
    class_bounds,
    duration,
    floor_of,
    from_floor,
    raised,
)
from twin_resources.statistics.bounds import clopper_pearson_lower
from twin_resources.statistics.values import ImpossibleValue


def bounds_of(classes: list[str], values: list[float]) -> ClassBounds:
    return class_bounds(stream_of(values, classes=classes))


def test_each_class_gets_its_share_of_delta() -> None:
    classes = ["how_to"] * 100 + ["fact"] * 100
    found = bounds_of(classes, [1.0] * 80 + [0.0] * 20 + [1.0] * 50 + [0.0] * 50)
    assert found.bounds == {
        "fact": clopper_pearson_lower(50, 100, delta=0.025),
        "how_to": clopper_pearson_lower(80, 100, delta=0.025),
    }
    assert found.means == {"fact": 0.5, "how_to": 0.8}


def test_rare_classes_have_no_bound_and_no_share() -> None:
    """Pooled, a class of .4 that became less rare raised an alarm in 89 % of streams."""
    found = bounds_of(["how_to"] * 100 + ["fact"] * 59 + ["opinion"] * 40, [1.0] * 199)
    assert found.bounds == {"how_to": clopper_pearson_lower(100, 100, delta=0.05)}
    assert found.counts == {"how_to": 100}
    assert bounds_of(["a"] * 10 + ["b"] * 10, [1.0] * 20).bounds == {}


def test_values_of_a_day_are_not_so_many_opinions() -> None:
    """Ten days, each all good or all bad: what Clopper and Pearson make of 500 values is .77."""
    values = [float(day % 5 != 0) for day in range(10) for _ in range(50)]
    [of_values] = class_bounds(stream_of(values)).bounds.values()
    [of_days] = class_bounds(stream_of(values, per_day=50)).bounds.values()
    assert of_values > 0.75
    assert of_days < 0.58
    [of_a_day] = class_bounds(stream_of(values, per_day=500)).bounds.values()
    assert of_a_day == 0.0  # of other days nothing is known
    assert certify(stream_of(values, per_day=500)).bounds == {}


def test_readers_who_return_are_not_so_many_opinions() -> None:
    values = stream_of([float(reader != 0) for _ in range(100) for reader in range(5)])
    named = [replace(value, reader=f"r{value.sequence % 5}") for value in values]
    assert class_bounds(named).bounds["how_to"] < 0.5 < class_bounds(values).bounds["how_to"]


def test_less_than_the_tolerance_is_no_fall() -> None:
    many = stream_of([1.0, 1.0, 1.0, 1.0, 0.0] * 1_600)
    held = certify(many)
    assert held.bounds["how_to"] == pytest.approx(0.77)
    assert held.certified["how_to"] > 0.79
    assert certify(many, tolerance=0.0).bounds == held.certified
    few = stream_of([1.0, 1.0, 1.0, 1.0, 0.0] * 20)
    assert certify(few).bounds == certify(few).certified  # not known that well


def test_bounds_stop_at_99() -> None:
    found = certify(stream_of([1.0] * 2_000), tolerance=0.0)
    assert found.bounds == {"how_to": HIGHEST}


def test_a_baseline_is_of_one_stream_and_version() -> None:
    mixed = stream_of([1.0] * 60) + stream_of([1.0] * 60, begin=61, version="v2")
    with pytest.raises(ImpossibleValue, match="2 streams and versions"):
        certify(mixed)
    with pytest.raises(ImpossibleValue, match="0 streams"):
        certify([])


def test_the_floor_is_the_best_certified_less_the_tolerance() -> None:
    poor = certify(stream_of(thumbs(500, 0.6, seed=1)))
    good = certify(stream_of(thumbs(500, 0.9, seed=2)))
    assert floor_of([good, poor]) == {"how_to": good.certified["how_to"] - 0.03}
    assert floor_of([]) == {}
    assert floor_of([certify(stream_of([0.02] * 500))]) == {}  # nothing below 0 can be fallen to
    inherited = certify(stream_of(thumbs(500, 0.6, seed=3)), floor=floor_of([good]))
    assert inherited.bounds["how_to"] == pytest.approx(good.certified["how_to"] - 0.03)
    assert inherited.certified["how_to"] < inherited.bounds["how_to"]
    # What was not certified does not pass for it: floors do not feed on floors.
    assert floor_of([inherited])["how_to"] == pytest.approx(inherited.certified["how_to"] - 0.03)


def test_a_first_version_has_no_floor_to_be_held_to() -> None:
    assert from_floor({}) is None
    held = from_floor({"how_to": 0.66})
    assert held is not None
    assert (held.bounds, held.certified, held.certified_from) == ({"how_to": 0.66}, {}, 0)
    assert held.blocks == 4  # how its readers' days go is not known yet


def test_a_later_batch_raises_and_never_lowers() -> None:
    values = thumbs(500, 0.8, seed=4) + thumbs(1_500, 0.8, seed=5)
    early, late = certify(stream_of(values[:500])), certify(stream_of(values))
    assert raised(early, late).bounds["how_to"] == late.bounds["how_to"] > early.bounds["how_to"]
    fallen = certify(stream_of([*values[:500], *thumbs(1_500, 0.3, seed=6)]))
    kept = raised(early, fallen)
    assert kept.bounds["how_to"] == early.bounds["how_to"]
    assert kept.certified_from == 2_000


def test_a_class_that_has_become_frequent_is_bet_on() -> None:
    early = certify(stream_of([1.0] * 100, classes=["easy"] * 60 + ["a"] * 40))
    assert set(early.bounds) == {"easy"}
    late = certify(stream_of([1.0] * 200, classes=["easy"] * 100 + ["a"] * 100))
    both = raised(early, late)
    assert both.bounds == late.bounds
    assert set(both.bounds) == {"easy", "a"}


@given(st.lists(unit_interval, min_size=60, max_size=80), st.floats(0.0, 0.9))
@settings(max_examples=30, deadline=None)
def test_bounds_are_between_floor_and_cap(values: list[float], floor: float) -> None:
    baseline = certify(stream_of(values), floor={"how_to": floor} if floor else {})
    assert all(floor <= bound <= HIGHEST for bound in baseline.bounds.values())
    assert baseline == certify(stream_of(values), floor={"how_to": floor} if floor else {})


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
