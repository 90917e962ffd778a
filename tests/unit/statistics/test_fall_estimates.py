"""By how much scores fell, and who has changed: answers or readers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from twin_resources.statistics.fall_estimates import (
    DayCell,
    FallEstimate,
    JudgedFall,
    cause_of,
    cause_of_judge,
    cells_of,
    estimate_of,
)
from twin_resources.statistics.values import ImpossibleValue, SettledValue


def cells(values: Sequence[float], *, name: str = "all", per_day: int = 10) -> list[DayCell]:
    return cells_of(
        SettledValue(number, "mara", "thumbs", "v1", name, value, day=number // per_day)
        for number, value in enumerate(values)
    )


def estimate(fall: float, error: float, *, covered: float = 1.0) -> FallEstimate:
    return FallEstimate(fall, (error / 1.96) ** 2, 1e6, 500, 500, covered)


def test_the_difference_of_means_with_its_interval() -> None:
    found = estimate_of(cells([0.9, 0.7] * 100), cells([0.7, 0.5] * 100), {"all": 1.0})
    assert found is not None
    assert found.fall == pytest.approx(0.2)
    # Days that are all alike: the upper end of the design effect of 20 days.
    assert found.variance == pytest.approx(2 * (1 + math.sqrt(2 / 20)) * 0.01 / 200)
    assert found.words == "0.200 ± 0.022 less (200 and 200)"


def test_another_mix_of_classes_is_no_fall() -> None:
    """Easy questions (.9) become rare beside hard ones (.5); each is answered as before."""
    easy, hard = [1.0, 0.8], [0.6, 0.4]
    before = cells(easy * 80, name="easy") + cells(hard * 20, name="hard")
    since = cells(easy * 20, name="easy") + cells(hard * 80, name="hard")

    found = estimate_of(before, since, {"easy": 40.0, "hard": 160.0})

    assert found is not None
    assert found.fall == pytest.approx(0.0, abs=1e-12)


def test_a_class_without_scores_is_left_out_and_said() -> None:
    found = estimate_of(cells([0.5, 0.7] * 50), cells([0.5, 0.7] * 50), {"all": 9.0, "rare": 1.0})
    assert found is not None
    assert found.covered == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("before", "since"),
    [
        (cells([0.5] * 59), cells([0.5] * 100)),  # too few
        (cells([0.5] * 100), cells([0.5] * 100, name="other")),  # of another class
        (cells([0.5] * 100, per_day=1_000), cells([0.5] * 100)),  # of one day
    ],
)
def test_of_too_little_nothing_is_known(before: list[DayCell], since: list[DayCell]) -> None:
    assert estimate_of(before, since, {"all": 1.0}) is None


def test_weights_are_counts() -> None:
    with pytest.raises(ImpossibleValue):
        estimate_of([], [], {"all": -1.0})


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_the_interval_holds_also_where_days_differ(spread: float) -> None:
    """Of 400 pairs of times without a fall, two-sided at .05, at most .08 are outside."""
    rng, outside = np.random.default_rng(7), 0
    for _ in range(400):
        sides: list[list[DayCell]] = []
        for days in (12, 16):
            levels = np.repeat(rng.normal(0.7, spread, days), 20)
            drawn = rng.normal(levels, 0.15)
            sides.append(cells(np.clip(drawn, 0.0, 1.0).tolist(), per_day=20))
        found = estimate_of(sides[0], sides[1], {"all": 1.0})
        assert found is not None
        outside += abs(found.fall) > found.error
    assert outside / 400 <= 0.08


READERS = estimate(0.10, 0.04)


@pytest.mark.parametrize(
    ("judged", "sensitivity", "cause"),
    [
        (estimate(0.08, 0.02), 0.7, "answers"),
        (estimate(0.00, 0.02), 0.7, "readers"),
        (estimate(-0.05, 0.02), 0.7, "readers"),
        (estimate(0.00, 0.02), 0.2, "undecided"),  # this judge hardly sees a bad answer
        (estimate(0.04, 0.02), 0.7, "undecided"),  # more than half of it
        (estimate(0.00, 0.08), 0.7, "undecided"),  # too few scores
        (estimate(0.00, 0.02, covered=0.8), 0.7, "undecided"),  # not of those that fell
    ],
)
def test_judges_decide_who_has_changed(
    judged: FallEstimate, sensitivity: float, cause: str
) -> None:
    found = cause_of(READERS, {"judge:t@1": JudgedFall(judged, sensitivity)}, tolerance=0.03)
    assert found.name == cause
    assert "readers gave 0.100 ± 0.040 less (500 and 500), judge:t@1 0." in found.words


def test_one_judge_that_sees_a_fall_is_enough_and_all_must_see_none() -> None:
    none, half, fell = (JudgedFall(estimate(fall, 0.02), 0.7) for fall in (0.0, 0.045, 0.09))
    assert cause_of(READERS, {"a": none, "b": fell}, tolerance=0.03).name == "answers"
    assert cause_of(READERS, {"a": none, "b": half}, tolerance=0.03).name == "undecided"
    assert cause_of(READERS, {"a": none, "b": none}, tolerance=0.03).name == "readers"


def test_without_scores_nothing_is_decided() -> None:
    seen = {"judge:t@1": JudgedFall(estimate(0.0, 0.01), 0.7)}
    assert "readers' scores" in cause_of(None, seen, tolerance=0.03).words
    assert "a judge's scores" in cause_of(READERS, {}, tolerance=0.03).words


@pytest.mark.parametrize(
    ("again", "cause"),
    [(0.8, "answers"), (0.6, "judge"), (0.62, "judge"), (0.66, "answers"), (0.74, "answers")],
)
def test_a_judge_has_moved_if_it_gives_the_answers_of_before_less(again: float, cause: str) -> None:
    """It gave .8, and gives .6 to those since; each of twenty days has a spread of .1."""
    then, since, now = (cells([mean - 0.1, mean + 0.1] * 200) for mean in (0.8, 0.6, again))
    found = cause_of_judge((then, since), now, tolerance=0.03)
    assert found.name == cause
    few = cause_of_judge((then, since[:2]), now, tolerance=0.03)
    assert few.name == "undecided"


def test_a_judge_that_may_have_moved_is_left_open() -> None:
    wide = [0.0, 1.0] * 30
    then, since, now = cells(wide + [1.0] * 40), cells(wide), cells(wide + [1.0] * 20)
    assert cause_of_judge((then, since), now, tolerance=0.03).name == "undecided"
