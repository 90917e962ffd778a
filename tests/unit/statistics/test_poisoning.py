"""A few readers cannot decide for all."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_resources.statistics.poisoning import (
    ReaderTotals,
    admit_reader_days,
    new_reader_limit,
    reader_limit,
    unconfirmed_fall_reason,
)


def settled_of(days: list[list[str]]) -> list[list[bool]]:
    """The values that the ledger settles of each day's reader-days, over a month."""
    counted: Counter[str] = Counter()
    return [admit_reader_days(day, counted) for day in days]


def test_forty_readers_are_all_admitted() -> None:
    assert all(map(all, settled_of([[f"r{number}" for number in range(40)]] * 30)))


def test_the_cap_is_a_twentieth_and_not_a_half() -> None:
    """A reader with half of the reader-days of a month beside 24 others: with a cap of .50 all of
    them would be settled."""
    twelve = [[f"r{(20 * day + number) % 24}" for number in range(20)] for day in range(12)]
    settled = settled_of([["loud"] * 20 + others for others in twelve])
    loud = sum(sum(day[:20]) for day in settled)
    others = sum(sum(day[20:]) for day in settled)
    assert others == 240  # a loud reader silences nobody
    assert 10 <= loud <= 24
    assert reader_limit(400, readers=20) == 20
    assert reader_limit(400, readers=10) == 80


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=12), max_size=40))
@settings(max_examples=40, deadline=None)
def test_no_reader_is_above_its_share_when_it_is_admitted(days: list[list[str]]) -> None:
    counted: Counter[str] = Counter()
    for day in days:
        everybody = len({*counted, *day})
        most = reader_limit(counted.total() + len(day), readers=everybody)
        before = counted.copy()
        admitted = admit_reader_days(day, counted)
        for reader in set(day):
            assert counted[reader] <= max(most, before[reader])
        assert counted.total() == before.total() + sum(admitted)


def totals(before: list[tuple[int, float]], since: list[tuple[int, float]]) -> str:
    """(values, mean) of each reader before a fall and since."""
    return unconfirmed_fall_reason(
        {
            f"r{number}": ReaderTotals(a, a * old, b, b * new)
            for number, ((a, old), (b, new)) in enumerate(zip(before, since, strict=True))
        }
    )


@pytest.mark.parametrize("of", [5, 8, 40])
def test_a_fall_that_all_see_is_theirs(of: int) -> None:
    assert totals([(40, 0.8)] * of, [(20, 0.5)] * of) == ""


@pytest.mark.parametrize(("of", "turned"), [(5, 1), (8, 2), (40, 3), (40, 12)])
def test_readers_who_turn_while_the_others_do_not_are_known(of: int, turned: int) -> None:
    """Twelve of forty are more than three: too many to tell from a fall for every reader."""
    since = [(20, 0.0)] * turned + [(20, 0.8)] * (of - turned)
    assert bool(totals([(40, 0.8)] * of, since)) is (turned < 12)


def test_new_readers_do_not_speak_for_those_who_voted_before() -> None:
    text = totals([(40, 0.8)] * 40 + [(0, 0.0)] * 12, [(3, 0.8)] * 40 + [(14, 0.0)] * 12)
    assert text.startswith("of 52 readers 40 voted before the fall, and without 3 of them they say")
    assert totals([(0, 0.0)] * 60, [(1, 0.0)] * 60) == "", "nobody has come back: none can tell"


def test_new_readers_are_a_tenth_of_a_day_however_many_they_are() -> None:
    assert [new_reader_limit(known, 30.0) for known in (0, 30, 60)] == [3, 3, 6]
    assert new_reader_limit(0, 0.0) == 1
