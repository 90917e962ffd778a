"""Test that a few readers cannot decide for all readers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_resources.statistics.vote_limits import (
    ReaderTotals,
    admit_reader_days,
    max_new_reader_values,
    max_values_per_reader,
    unconfirmed_fall_reason,
)


def admit_days(days: list[list[str]]) -> list[list[bool]]:
    """Return, for each day, whether each of its reader-days is settled."""
    counts: Counter[str] = Counter()
    return [admit_reader_days(day, counts) for day in days]


def test_forty_readers_are_all_admitted() -> None:
    assert all(map(all, admit_days([[f"r{number}" for number in range(40)]] * 30)))


def test_the_limit_of_a_reader_is_a_twentieth() -> None:
    """One reader gives half of the votes, with 24 other readers, for twelve days.

    A limit of 50 % would settle all of that reader's votes.
    """
    other_readers = [[f"r{(20 * day + number) % 24}" for number in range(20)] for day in range(12)]
    admitted = admit_days([["loud"] * 20 + day for day in other_readers])
    loud_count = sum(sum(day[:20]) for day in admitted)
    other_count = sum(sum(day[20:]) for day in admitted)
    assert other_count == 240  # the loud reader displaces no other reader
    assert 10 <= loud_count <= 24
    assert max_values_per_reader(400, reader_count=20) == 20
    assert max_values_per_reader(400, reader_count=10) == 80


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=12), max_size=40))
@settings(max_examples=40, deadline=None)
def test_no_admitted_reader_is_above_its_limit(days: list[list[str]]) -> None:
    counts: Counter[str] = Counter()
    for day in days:
        reader_count = len({*counts, *day})
        limit = max_values_per_reader(counts.total() + len(day), reader_count=reader_count)
        counts_before = counts.copy()
        admitted = admit_reader_days(day, counts)
        for reader in set(day):
            assert counts[reader] <= max(limit, counts_before[reader])
        assert counts.total() == counts_before.total() + sum(admitted)


def unconfirmed_reason(before: list[tuple[int, float]], since: list[tuple[int, float]]) -> str:
    """Return the reason to distrust a fall, from (values, mean) of each reader before and since."""
    return unconfirmed_fall_reason(
        {
            f"r{number}": ReaderTotals(a, a * old, b, b * new)
            for number, ((a, old), (b, new)) in enumerate(zip(before, since, strict=True))
        }
    )


@pytest.mark.parametrize("count", [5, 8, 40])
def test_a_fall_of_all_readers_is_confirmed(count: int) -> None:
    assert unconfirmed_reason([(40, 0.8)] * count, [(20, 0.5)] * count) == ""


@pytest.mark.parametrize(("count", "changed_count"), [(5, 1), (8, 2), (40, 3), (40, 12)])
def test_a_fall_of_a_few_readers_is_unconfirmed(count: int, changed_count: int) -> None:
    """A change of 12 of 40 readers cannot be distinguished from a fall for every reader."""
    since = [(20, 0.0)] * changed_count + [(20, 0.8)] * (count - changed_count)
    assert bool(unconfirmed_reason([(40, 0.8)] * count, since)) is (changed_count < 12)


def test_new_readers_do_not_confirm_a_fall_for_earlier_readers() -> None:
    text = unconfirmed_reason(
        [(40, 0.8)] * 40 + [(0, 0.0)] * 12, [(3, 0.8)] * 40 + [(14, 0.0)] * 12
    )
    assert text.startswith("40 of 52 readers voted before the fall, and the votes of all but 3")
    assert unconfirmed_reason([(0, 0.0)] * 60, [(1, 0.0)] * 60) == "", (
        "without returning readers, nothing can be compared"
    )


def test_new_readers_are_at_most_a_tenth_of_a_day() -> None:
    limits = [max_new_reader_values(known_readers, 30.0) for known_readers in (0, 30, 60)]
    assert limits == [3, 3, 6]
    assert max_new_reader_values(0, 0.0) == 1
