"""Readers of two versions at the same time: what moves both is no fall of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from twin_resources.statistics.fall_estimates import (
    DayCell,
    FallCause,
    TwoTimes,
    agreed,
    anchor_fall,
    cause_by_anchor,
    is_worth_waiting,
)

DAYS = 20


def side(
    first_day: int, mean: float, *, a_day: int, days: int = DAYS, name: str = "all"
) -> list[DayCell]:
    """Thumbs of this mean, so many on each day; days come and go by a tenth of a thumb's spread."""
    up = [round(a_day * mean) + (1 if day % 2 else -1) * (a_day >= 20) for day in range(days)]
    return [
        DayCell(name, f"day {first_day + day}", a_day, float(count), float(count))
        for day, count in enumerate(up)
    ]


def times(before: float, since: float, *, a_day: int, days: int = DAYS) -> TwoTimes:
    return side(0, before, a_day=a_day), side(DAYS, since, a_day=a_day, days=days)


def cause(stable: TwoTimes, anchor: TwoTimes) -> FallCause:
    return cause_by_anchor(anchor_fall(stable, anchor), tolerance=0.03)


@pytest.mark.parametrize(("anchor_since", "found"), [(0.65, "readers"), (0.8, "answers")])
def test_what_the_anchor_shows_of_a_fall(anchor_since: float, found: str) -> None:
    """The stable version's readers gave .15 less: those of the anchor as much, or nothing."""
    said = cause(times(0.8, 0.65, a_day=100), times(0.8, anchor_since, a_day=40))
    assert said.name == found
    assert "readers gave 0.150 ± " in said.words
    assert "(2,000 and 2,000)" in said.words
    assert "(800 and 800)" in said.words


def test_half_of_a_fall_is_left_open() -> None:
    assert cause(times(0.8, 0.7, a_day=100), times(0.8, 0.75, a_day=20)).name == "undecided"


def test_a_better_anchor_that_falls_as_much_is_no_fall_of_the_answers() -> None:
    """Its level is another one; only changes are compared."""
    assert cause(times(0.8, 0.65, a_day=100), times(0.9, 0.75, a_day=40)).name == "readers"


def test_few_readers_of_the_anchor_decide_nothing() -> None:
    stable = times(0.8, 0.65, a_day=100)
    assert cause(stable, times(0.8, 0.65, a_day=4)).name == "undecided"
    few = cause(stable, (side(0, 0.8, a_day=2), side(DAYS, 0.65, a_day=2)))
    assert few == FallCause("undecided", "too few scores of the anchor before and since the fall")


def test_days_on_which_only_one_was_scored_are_left_out() -> None:
    """The stable version was better on ten days before the anchor had readers."""
    before = side(0, 0.8, a_day=100) + side(-10, 1.0, a_day=100, days=10)
    seen = anchor_fall((before, side(DAYS, 0.65, a_day=100)), times(0.8, 0.65, a_day=40))
    assert seen is not None
    assert seen.stable.fall == pytest.approx(0.15)
    assert seen.stable.before == 2_000


def test_a_class_that_the_anchor_was_not_asked_about_is_left_open() -> None:
    rare = (
        side(0, 0.8, a_day=50, name="rare"),
        side(DAYS, 0.6, a_day=50, name="rare"),
    )
    stable, anchor = times(0.8, 0.65, a_day=100), times(0.8, 0.65, a_day=40)
    said = cause(([*stable[0], *rare[0]], [*stable[1], *rare[1]]), anchor)
    assert said.name == "undecided"
    assert said.words.startswith("33% of it is in classes with too few of the anchor's: ")


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_neither_error_comes_more_often_than_it_may(spread: float) -> None:
    """A fall of the stable version alone is taken for the readers', and a fall of both for the
    answers', at most once in 40, also where days differ."""
    rng = np.random.default_rng(5)
    wrong = {"stable alone": 0, "both": 0}
    for _ in range(300):
        days = rng.normal(0.0, spread, 2 * DAYS)
        for world, of_both in (("stable alone", 0.0), ("both", 0.1)):
            stable, anchor = (
                (
                    _drawn(rng, 0.8 + days[:DAYS], a_day, 0),
                    _drawn(rng, 0.8 - fell + days[DAYS:], a_day, DAYS),
                )
                for a_day, fell in ((100, 0.1), (30, of_both))
            )
            found = cause(stable, anchor).name
            wrong[world] += found == ("readers" if world == "stable alone" else "answers")
    assert max(wrong.values()) <= 0.025 * 300 + 2 * (0.025 * 0.975 * 300) ** 0.5


def _drawn(
    rng: np.random.Generator, means: Sequence[float], a_day: int, first: int
) -> list[DayCell]:
    ups = rng.binomial(a_day, np.clip(means, 0.0, 1.0))
    return [
        DayCell("all", f"day {first + day}", a_day, float(up), float(up))
        for day, up in enumerate(ups)
    ]


def test_waiting_is_worth_it_where_scores_come_fast_enough() -> None:
    """A fall of .15 takes about a hundred of the anchor's scores; they come at 5 % of 220 a day."""
    stable, anchor = times(0.8, 0.65, a_day=209, days=2), times(0.8, 0.65, a_day=11, days=2)
    worth = [
        is_worth_waiting(stable, anchor, share=share, days=2.0, more=more)
        for share, more in ((0.05, 8.0), (0.05, 2.0), (0.5, 5.0), (0.5, 0.1))
    ]
    assert worth == [True, False, True, False]
    small = times(0.8, 0.75, a_day=209, days=2)
    assert not is_worth_waiting(small, anchor, share=0.05, days=2.0, more=5.0)
    risen = times(0.65, 0.8, a_day=209, days=2)
    assert not is_worth_waiting(risen, anchor, share=0.5, days=2.0, more=5.0)


@pytest.mark.parametrize(
    ("judges", "anchor", "together"),
    [
        ("undecided", "readers", "readers"),
        ("answers", "undecided", "answers"),
        ("readers", "readers", "readers"),
        ("answers", "readers", "undecided"),
        ("readers", "answers", "undecided"),
    ],
)
def test_against_each_other_judges_and_anchor_decide_nothing(
    judges: str, anchor: str, together: str
) -> None:
    found = agreed(FallCause(judges, "judges said"), FallCause(anchor, "readers said"))  # type: ignore[arg-type]
    assert found.name == together
    if "undecided" not in (judges, anchor):
        assert found.words == "judges said; readers said"
