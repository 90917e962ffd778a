"""All authors' values together: what they share is one incident, what one of them has is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest

from twin_resources.statistics.bets import BETS
from twin_resources.statistics.blocks import DayBlock
from twin_resources.statistics.common_cause import (
    DayBets,
    added,
    common_fall,
    day_bets,
    design_effect_of_days,
    needed_authors,
)
from twin_resources.statistics.detector import stakes
from twin_resources.statistics.values import SettledValue

BOUND = 0.75
KNOWN = 20  # days before what a test is about
VOTES = 30
Level = Callable[[int, int], float]


def block(value: float, *, prompt_class: str = "short") -> DayBlock:
    last = SettledValue(1, "ada", "thumbs", "v1", prompt_class, value)
    return DayBlock(first=1, last=last, value=value, size=1)


def votes(author: int, day: int, good: int, bad: int) -> DayBets:
    values = [block(1.0)] * good + [block(0.0)] * bad
    bets = day_bets(f"author-{author}", day, values, {"short": BOUND})
    assert bets is not None
    return bets


def home(authors: int, days: Sequence[int], level: Level, *, seed: int = 1) -> list[DayBets]:
    """Thumbs of a home; `level`: of an author on a day."""
    drawn = Random(seed)
    rows: list[DayBets] = []
    for day in days:
        for author in range(authors):
            good = sum(drawn.random() < level(author, day) for _ in range(VOTES))
            rows.append(votes(author, day, good, VOTES - good))
    return rows


def falls(authors: int, *, fallen: int, by: float, days: int = 5, seed: int = 1) -> list[DayBets]:
    """`KNOWN` good days, then `days` on which the first authors are worse."""

    def level(author: int, day: int) -> float:
        return 0.8 - by * (author < fallen and day >= KNOWN)

    return home(authors, range(KNOWN + days), level, seed=seed)


def test_a_day_is_the_product_of_its_bets() -> None:
    bets = day_bets(
        "ada", 7, [block(1.0), block(0.25), block(0.0, prompt_class="rare")], {"short": 0.5}
    )

    assert bets is not None
    assert (bets.blocks, bets.total, bets.squares) == (2, 1.25, 1.0625)
    for log, stake in zip(bets.logs, stakes(0.5), strict=True):
        assert math.exp(log) == pytest.approx((1 - 0.5 * stake) * (1 + 0.25 * stake))
    assert day_bets("ada", 7, [block(0.0, prompt_class="rare")], {"short": 0.5}) is None
    assert added(bets, bets).logs == pytest.approx([2 * log for log in bets.logs])


def test_the_evidence_is_the_sum_over_the_days_on_which_a_fall_may_have_begun() -> None:
    """Beside 7 known days: M of the two newest, without the two authors that won most, a bet."""
    rows = home(4, range(7), lambda *_: 0.8) + home(4, (7, 8), lambda *_: 0.5)
    of = {(one.author, one.day): one.logs for one in rows}

    evidence = common_fall(rows, authors=4, design_effect=1.0, after=6)

    expected = 0.0
    for k in range(BETS):
        for since in (7, 8):
            won = sorted(
                sum(of[f"author-{author}", day][k] for day in range(since, 9))
                for author in range(4)
            )
            expected += math.exp(sum(won) - sum(max(0.0, one) for one in won[2:])) / BETS
    assert evidence.e_value == pytest.approx(expected)
    assert evidence.threshold == 100_000


@pytest.mark.parametrize("authors", [5, 20])
def test_what_all_authors_share_is_common(authors: int) -> None:
    evidence = common_fall(falls(authors, fallen=authors, by=0.3), authors=authors)
    assert evidence.is_common
    assert evidence.since is not None
    assert abs(evidence.since - KNOWN) <= 1
    assert len(evidence.fallen) == authors


@pytest.mark.parametrize("fallen", [1, 2])
def test_one_broken_model_or_two_are_no_incident(fallen: int) -> None:
    """Of five authors two that fall by .7 in one midnight have evidence of 10^60 and more."""
    rows = falls(5, fallen=fallen, by=0.7)
    assert max(max(one.logs) for one in rows) > 10.0
    assert not common_fall(rows, authors=5).is_common
    assert common_fall(falls(5, fallen=3, by=0.7), authors=5).is_common


def test_a_tenth_of_a_large_home_is_needed() -> None:
    assert [needed_authors(armed) for armed in (1, 5, 30, 31, 200)] == [3, 3, 3, 4, 20]


def test_fewer_than_three_authors_share_nothing() -> None:
    evidence = common_fall(falls(2, fallen=2, by=0.7), authors=2)
    assert (evidence.e_value, evidence.since, evidence.fallen) == (0.0, None, ())


def test_authors_that_fell_one_after_the_other_share_nothing() -> None:
    """Three of five fell one after the other, weeks ago, and nobody could mend them."""
    rows = falls(5, fallen=3, by=0.7)
    names = [f"author-{number}" for number in range(3)]
    long_ago, this_week = dict.fromkeys(names, KNOWN - 4), dict.fromkeys(names, KNOWN - 2)
    assert not common_fall(rows, authors=5, alone=long_ago).is_common
    assert common_fall(rows, authors=5, alone=this_week).is_common


def test_of_fewer_than_seven_days_nothing_is_known() -> None:
    rows = home(5, range(6), lambda *_: 0.1)
    assert common_fall(rows, authors=5).e_value == 0.0
    assert common_fall(rows, authors=5, design_effect=1.0).is_common


def test_what_was_told_is_not_told_again() -> None:
    rows = falls(5, fallen=5, by=0.5)
    assert common_fall(rows, authors=5).is_common
    assert common_fall(rows, authors=5, after=KNOWN + 4).e_value == 0.0
    goes_on = common_fall(rows, authors=5, after=KNOWN + 1, design_effect=1.0)
    assert goes_on.is_common


@pytest.mark.parametrize("authors", [3, 10])
def test_a_home_that_stays_as_it_is_raises_nothing(authors: int) -> None:
    """At most 5 % may; the largest E of 40 homes and 60 days each is below a hundredth of C."""
    largest = 0.0
    for seed in range(40):
        rows = home(authors, range(60), lambda *_: 0.8, seed=seed)
        for last in range(20, 60, 4):
            known = [one for one in rows if one.day <= last]
            largest = max(largest, common_fall(known, authors=authors).e_value)
    assert 0.0 < largest < 1_000.0


def test_days_that_all_authors_share_count_for_less() -> None:
    """Weekends .2 lower: their design effect is known after four of them; before, each is an
    incident. A fall below what weekends are is one all the same."""

    def level(_: int, day: int) -> float:
        return 0.65 if day % 7 in (5, 6) else 0.85

    ordinary = home(20, range(42), level)
    effect = design_effect_of_days(
        {day: [one for one in ordinary if one.day == day] for day in range(14, 42)}
    )
    assert effect > 10.0
    assert not common_fall(ordinary, authors=20).is_common
    assert common_fall(ordinary, authors=20, design_effect=1.0).is_common
    broken = home(20, range(50), lambda author, day: level(author, day) - 0.4 * (day >= 42))
    assert common_fall(broken, authors=20).is_common


def test_streams_of_one_author_see_the_same_answers_and_count_once() -> None:
    rows = falls(5, fallen=5, by=0.3)
    once, twice = (
        common_fall(some, authors=5, design_effect=1.0).e_value for some in (rows, [*rows, *rows])
    )
    assert twice == pytest.approx(once)


def test_an_author_whose_judge_did_not_move_won_half() -> None:
    """The mean over streams: what one of two says is in it, less a factor of two."""
    [thumbs] = [one for one in falls(1, fallen=1, by=0.7, days=1) if one.day == KNOWN]
    judge = replace(thumbs, logs=(0.0,) * BETS)
    rows = [
        replace(one, author=f"author-{number}", day=one.day)
        for number in range(3)
        for one in (thumbs, judge)
    ]
    evidence = common_fall(rows, authors=3, design_effect=1.0)
    expected = sum((math.exp(log) + 1.0) / 2.0 for log in thumbs.logs) / BETS
    assert evidence.e_value == pytest.approx(expected)
