"""Days, blocks of a day, and how many bets the values of a day are worth."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.statistics.settled_values import stream_of, thumbs, unit_interval
from twin_resources.statistics.blocks import (
    MOST_BLOCKS,
    blocks_a_day,
    blocks_of,
    days_of,
    design_effect,
)


def test_days_are_runs_and_a_value_without_a_day_is_one() -> None:
    assert [len(day) for day in days_of(stream_of([1.0] * 7, per_day=3))] == [3, 3, 1]
    assert [len(day) for day in days_of(stream_of([1.0] * 3))] == [1, 1, 1]


def test_a_class_and_day_is_at_most_four_bets() -> None:
    day = stream_of([float(number % 2) for number in range(11)], classes=["a"] * 9 + ["b"] * 2)
    found = blocks_of(day, most=4)
    assert [(block.last.prompt_class, block.size) for block in found] == [
        ("a", 2),
        ("a", 2),
        ("a", 3),
        ("a", 2),
        ("b", 1),
        ("b", 1),
    ]
    assert found[0].value == 0.5
    assert (found[1].first, found[1].last.sequence) == (3, 4)


@given(
    st.lists(st.tuples(unit_interval, st.sampled_from("abc")), min_size=1, max_size=40),
    st.sampled_from([1, 2, 4, None]),
)
@settings(max_examples=60, deadline=None)
def test_each_value_is_in_one_block(values: list[tuple[float, str]], most: int | None) -> None:
    day = stream_of([value for value, _ in values], classes=[name for _, name in values])
    found = blocks_of(day, most=most)
    assert sum(block.size for block in found) == len(day)
    assert sum(block.size * block.value for block in found) == pytest.approx(
        sum(value for value, _ in values)
    )
    ends = [block.last.sequence for block in found]
    assert ends == sorted(set(ends))
    assert ends[-1] == len(day)
    for name in "abc":
        count = sum(block.last.prompt_class == name for block in found)
        assert count <= (most or len(day))


def test_the_design_effect_is_one_where_days_do_not_matter() -> None:
    found = [
        design_effect(stream_of(thumbs(3_000, 0.8, seed=seed), per_day=30)) for seed in range(20)
    ]
    assert sum(found) / 20 == pytest.approx(1.0, abs=0.15)


def test_the_design_effect_is_the_days_size_where_a_day_is_one_opinion() -> None:
    values = [float(random.Random(day).random() < 0.5) for day in range(200) for _ in range(30)]
    assert design_effect(stream_of(values, per_day=30)) == pytest.approx(30.0, rel=0.02)


def test_a_mere_change_of_classes_is_no_effect_of_days() -> None:
    """Days on which only the easy or only the hard class is asked."""
    names = [["easy", "hard"][day % 2] for day in range(100) for _ in range(30)]
    values = [
        one
        for easy, hard in zip(thumbs(1_500, 0.95, seed=1), thumbs(1_500, 0.5, seed=2), strict=True)
        for one in (easy, hard)
    ]
    by_class = {
        "easy": iter(values[::2]),
        "hard": iter(values[1::2]),
    }
    ordered = [next(by_class[name]) for name in names]
    assert design_effect(stream_of(ordered, classes=names, per_day=30)) < 1.4


def test_of_one_day_nothing_is_known() -> None:
    one_day = stream_of(thumbs(500, 0.8, seed=1), per_day=500)
    assert design_effect(one_day) == math.inf
    assert blocks_a_day(one_day) == MOST_BLOCKS
    assert design_effect(stream_of([1.0] * 60, per_day=30)) == 1.0


def test_independent_values_are_a_bet_each_and_others_are_not() -> None:
    free = [blocks_a_day(stream_of(thumbs(500, 0.8, seed=seed), per_day=30)) for seed in range(60)]
    assert free.count(None) >= 35
    levels = random.Random(3)
    held: list[int | None] = []
    for _ in range(20):
        values = [
            float(levels.random() < level)
            for level in (levels.gauss(0.75, 0.15) for _ in range(17))
            for _ in range(30)
        ]
        held.append(blocks_a_day(stream_of(values, per_day=30)))
    assert held.count(None) <= 2
    assert blocks_a_day(stream_of(thumbs(60, 0.8, seed=1))) is None  # settled at once
