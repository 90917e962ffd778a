"""The detector: what raises an alarm, what does not, and what it is compared with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.retraining.worlds import WORLDS, World, lived
from twin_resources.statistics.detector import DaySum, StreamEvidence, evidence_of, threshold
from twin_resources.statistics.values import ImpossibleValue

C = threshold(armed_streams=1)


def days(*stretches: tuple[int, float], per_day: int = 30, version: str = "v1", name: str = "short",
         begin: int = 0) -> list[DaySum]:  # fmt: skip
    """Days of exactly these means, one stretch after the other."""
    found: list[DaySum] = []
    for count, mean in stretches:
        for _ in range(count):
            day, good = begin + len(found), mean * per_day
            first = day * 1_000 + 1
            found.append(
                DaySum(day, version, name, per_day, good, good, first, first + per_day - 1)
            )
    return found


def of(sums: list[DaySum], *, version: str = "v1", **facts: float) -> StreamEvidence:
    return evidence_of(sums, author="mara", stream="thumbs", version=version, **facts)  # type: ignore[arg-type]


def test_a_fall_raises_an_alarm_that_says_since_when() -> None:
    found = of(days((40, 0.8), (5, 0.5)))
    assert found.e_value > C
    assert (found.before, found.since, found.values) == (40, 40_001, 150)
    assert [(one.prompt_class, one.mean, one.values) for one in found.falls] == [
        ("short", 0.5, 150)
    ]
    assert found.falls[0].baseline == pytest.approx(0.77)
    assert found.compared == 1_200
    assert of(days((45, 0.8))).e_value == 1.0
    assert of(days((40, 0.5), (5, 0.8))).e_value == 1.0, "a rise is none"


def test_two_weeks_come_first_and_one_day_alone_is_nothing() -> None:
    assert not of(days((15, 0.8))).armed, "14 days before the fall, two since"
    assert of(days((16, 0.8))).armed
    assert of(days((40, 0.8), (1, 0.0), per_day=3_000)).e_value < C
    assert not of(days((40, 0.8), per_day=2)).armed, "100 values before it"


def test_less_than_the_tolerance_is_no_fall() -> None:
    weeks = days((60, 0.8), (40, 0.7), per_day=100)
    assert of(weeks).e_value > C
    assert of(weeks, tolerance=0.12).e_value == 1.0


def test_classes_are_compared_each_with_itself() -> None:
    """Easy questions give way to hard ones, and no answer is worse."""

    def kind(name: str, mean: float, often: tuple[int, int], then: float) -> list[DaySum]:
        before = days((40, mean), per_day=often[0], name=name)
        return before + days((5, then), per_day=often[1], name=name, begin=40)

    easy, hard = kind("easy", 0.9, (30, 5), 0.9), kind("hard", 0.6, (5, 30), 0.6)
    assert of(easy + hard).e_value <= 1.0
    fallen = kind("hard", 0.6, (5, 30), 0.3)
    found = of(easy + fallen)
    assert found.e_value > C
    assert [one.prompt_class for one in found.falls] == ["hard"]


def test_a_new_version_is_compared_with_the_days_of_the_one_before() -> None:
    sums = [*days((40, 0.8)), *days((3, 0.5), version="v2", begin=40)]
    found = of(sums, version="v2")
    assert found.e_value > C
    assert (found.seen, found.days) == (90, 3)


def test_what_is_held_against_the_answers_follows_them() -> None:
    """A season of .2 within a year is followed; the same fall within two days is none."""
    slowly = [days((1, 0.8 - 0.2 * day / 365), begin=day)[0] for day in range(365)]
    assert max(of(slowly[:day]).e_value for day in range(20, 365, 5)) < C
    assert of(days((100, 0.8), (10, 0.6))).e_value > C


@given(
    st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1), st.sampled_from("ab")), max_size=60)
)
@settings(max_examples=60, deadline=None)
def test_any_days_give_evidence_that_is_stored_and_read_again(
    drawn: list[tuple[int, float, str]],
) -> None:
    sums = [
        DaySum(day, "v1", name, count, count * mean, count * mean**2, day * 1_000, day * 1_000 + 1)
        for day, (count, mean, name) in enumerate(drawn)
    ]
    found = of(sums)
    assert found.e_value >= 0.0
    assert StreamEvidence.from_json(found.to_json()) == found
    assert StreamEvidence.from_json('{"floor": {}, "detector": {}, "baseline": null}') is None


def test_the_threshold_grows_with_the_fleet_and_says_what_is_no_fleet() -> None:
    assert threshold(armed_streams=40) == 40 * C
    assert threshold(armed_streams=1, horizon=10_000, alpha=0.05) == 2 * C
    with pytest.raises(ImpossibleValue):
        threshold(armed_streams=0)


@pytest.mark.parametrize("world", [one for one in WORLDS if one.has_goal], ids=lambda one: one.name)
def test_a_world_without_a_fall_trains_hardly_ever(world: World) -> None:
    """Of six homes in half a year at most two train; `bench_loop.py` has the shares."""
    rng = np.random.default_rng(4)
    counts, means = world.draw(rng, 6, 30)
    goods = rng.binomial(counts, np.clip(means, 0.0, 1.0))
    homes = zip(counts[:, :180], goods[:, :180], strict=True)
    assert sum(bool(lived(*home, only_first=True).trained) for home in homes) <= 2
