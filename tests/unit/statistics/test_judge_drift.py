"""A judge that gives the same answers other scores than at first is found; noise is not."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from twin_resources.statistics.judge_drift import (
    FEWEST_DAYS,
    MATTERS,
    JudgeMove,
    KeptDay,
    judge_move,
    kept_day,
)
from twin_resources.statistics.values import ImpossibleValue

KEPT = 40


def scored(
    days: int,
    *,
    moved: float,
    at: int = 20,
    scatter: float = 0.12,
    levels: float = 0.0,
    seed: int = 0,
) -> list[KeptDay]:
    """Differences of 40 answers a day, whose mean changes by `moved` on a day."""
    drawn = random.Random(seed)
    found: list[KeptDay] = []
    for day in range(days):
        level = drawn.gauss(0.0, levels) + moved * (day >= at)
        of_day = (max(-1.0, min(1.0, drawn.gauss(level, scatter))) for _ in range(KEPT))
        found.append(kept_day(day, list(of_day)))
    return found


def found_on(days: Sequence[KeptDay]) -> int | None:
    """The first day whose evidence suffices."""
    for count in range(1, len(days) + 1):
        if judge_move(days[:count]).has_moved:
            return days[count - 1].day
    return None


@pytest.mark.parametrize(("moved", "within"), [(-0.1, 8), (0.1, 8), (-0.05, 16), (0.05, 16)])
def test_a_move_is_found_in_days_in_either_direction_with_its_size(
    moved: float, within: int
) -> None:
    days = scored(60, moved=moved)
    day = found_on(days)
    assert day is not None
    assert 20 <= day < 20 + within
    move = judge_move(days[: day + 1])
    assert move.since is not None
    assert abs(move.since - 20) <= 3
    assert abs(move.move - moved) < 2 * move.error < 0.08, "the day was chosen by the evidence"
    assert ("less" in move.words) == (moved < 0)


@pytest.mark.parametrize("levels", [0.0, 0.02, 0.03])
def test_a_judge_that_scatters_and_has_days_of_its_own_has_not_moved(levels: float) -> None:
    assert found_on(scored(200, moved=0.0, levels=levels, seed=3)) is None


def test_one_that_answers_alike_has_not_moved_however_long() -> None:
    move = judge_move([kept_day(day, [0.0] * KEPT) for day in range(300)])
    assert (move.has_moved, move.move) == (False, 0.0)
    assert move.e_value < 60.0, "one a day of the window at most"


def test_less_than_what_matters_is_no_move() -> None:
    assert found_on([kept_day(day, [-MATTERS] * KEPT) for day in range(300)]) is None


def test_nothing_is_bet_before_days_are_known() -> None:
    days = scored(FEWEST_DAYS, moved=-0.4, at=0)
    assert judge_move(days).since is None
    assert judge_move(days).e_value == 0.0
    assert judge_move([]) == JudgeMove(0.0, 10_000.0, None, 0.0, 1.0, 0)


def test_days_long_gone_change_nothing() -> None:
    days = scored(400, moved=-0.03, at=390)
    assert judge_move(days) == judge_move(days[-120:]) != judge_move(days[-90:])


@pytest.mark.parametrize("wrong", [[], [1.5]])
def test_what_is_no_difference_of_scores_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ImpossibleValue, match="differences"):
        kept_day(3, wrong)
