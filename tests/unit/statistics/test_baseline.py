"""Baselines: classes, pooling, cap, floor, the second batch, and what arming says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.statistics.settled_values import stream_of, thumbs, unit_interval
from twin_resources.statistics.baseline import (
    HIGHEST,
    REST,
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


def test_each_class_gets_its_share_of_delta() -> None:
    classes = ["how_to"] * 100 + ["fact"] * 100
    values = [1.0] * 80 + [0.0] * 20 + [1.0] * 50 + [0.0] * 50
    found = class_bounds(classes, values)
    assert found.bounds == {
        "fact": clopper_pearson_lower(50, 100, delta=0.025),
        "how_to": clopper_pearson_lower(80, 100, delta=0.025),
    }
    assert found.pooled == ()


def test_rare_classes_are_pooled() -> None:
    classes = ["how_to"] * 100 + ["fact"] * 59 + ["opinion"] * 1
    found = class_bounds(classes, [1.0, 0.0] * 80)
    assert found.pooled == ("fact", "opinion")
    assert found.counts == {"how_to": 100, REST: 60}
    assert found.bounds["fact"] == found.bounds["opinion"]
    assert found.bounds["fact"] == clopper_pearson_lower(30, 60, delta=0.025)


def test_a_rest_that_is_too_small_is_not_bet_on() -> None:
    found = class_bounds(["how_to"] * 100 + ["fact"] * 59, [1.0] * 159)
    assert set(found.bounds) == {"how_to"}
    assert found.bounds["how_to"] == clopper_pearson_lower(100, 100, delta=0.05)


def test_nothing_large_enough_means_no_bound() -> None:
    assert class_bounds(["a"] * 10 + ["b"] * 10, [1.0] * 20).bounds == {}


def test_bounds_stop_at_99() -> None:
    found = certify(stream_of([1.0] * 2_000))
    assert found.bounds == {"how_to": HIGHEST}


def test_a_baseline_is_of_one_stream_and_version() -> None:
    mixed = stream_of([1.0] * 60) + stream_of([1.0] * 60, begin=61, version="v2")
    with pytest.raises(ImpossibleValue, match="2 streams and versions"):
        certify(mixed)
    with pytest.raises(ImpossibleValue, match="0 streams"):
        certify([])


def test_the_floor_is_the_best_certified_minus_the_margin() -> None:
    poor = certify(stream_of(thumbs(500, 0.6, seed=1)))
    good = certify(stream_of(thumbs(500, 0.9, seed=2)))
    assert floor_of([good, poor]) == {"how_to": good.certified["how_to"] - 0.1}
    assert floor_of([]) == {}
    assert floor_of([certify(stream_of([0.05] * 500))]) == {}  # nothing below 0 can be fallen to
    inherited = certify(stream_of(thumbs(500, 0.6, seed=3)), floor=floor_of([good]))
    assert inherited.bounds["how_to"] == pytest.approx(good.certified["how_to"] - 0.1)
    assert inherited.certified["how_to"] < inherited.bounds["how_to"]
    # What was not certified does not pass for it: floors do not feed on floors.
    assert floor_of([inherited])["how_to"] == pytest.approx(inherited.certified["how_to"] - 0.1)


def test_a_first_version_has_no_floor_to_be_held_to() -> None:
    assert from_floor({}) is None
    held = from_floor({"how_to": 0.66})
    assert held is not None
    assert (held.bounds, held.certified, held.certified_from) == ({"how_to": 0.66}, {}, 0)


def test_the_second_batch_raises_and_never_lowers() -> None:
    values = thumbs(500, 0.8, seed=4) + thumbs(1_500, 0.8, seed=5)
    early, late = certify(stream_of(values[:500])), certify(stream_of(values))
    assert raised(early, late).bounds["how_to"] == late.bounds["how_to"] > early.bounds["how_to"]
    fallen = certify(stream_of([*values[:500], *thumbs(1_500, 0.3, seed=6)]))
    kept = raised(early, fallen)
    assert kept.bounds["how_to"] == early.bounds["how_to"]
    assert kept.certified_from == 2_000


def test_a_class_that_leaves_rest_takes_its_own_bound() -> None:
    early = certify(
        stream_of([1.0] * 100 + [0.0] * 40, classes=["easy"] * 60 + ["a"] * 40 + ["b"] * 40)
    )
    assert early.bounds["a"] == early.bounds["b"]
    late = certify(
        stream_of(
            [1.0] * 200 + [0.0] * 40 + [1.0] * 60,
            classes=["easy"] * 160 + ["a"] * 40 + ["b"] * 40 + ["b"] * 60,
        )
    )
    assert set(late.bounds) == {"easy", "b"}
    both = raised(early, late)
    assert both.bounds["b"] == late.bounds["b"]
    assert both.bounds["a"] == early.bounds["a"]
    assert both.bounds["easy"] == max(early.bounds["easy"], late.bounds["easy"])


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
