"""A few readers do not decide for all."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.retraining.poisoned_keys import HELD_BACK, stream
from tests.bench.retraining.streams import followed
from tests.unit.statistics.settled_values import stream_of, thumbs
from twin_resources.statistics.baseline import certify
from twin_resources.statistics.blocks import blocks_of
from twin_resources.statistics.detector import Detector, fold, threshold
from twin_resources.statistics.diagnosis import since_the_drop
from twin_resources.statistics.poisoning import (
    EvidenceShares,
    admitted,
    carried_by,
    most_allowed,
)

BOUNDS = dict(certify(stream_of(thumbs(500, 0.8, seed=1))).bounds)
C = threshold(armed_streams=1)


def settled_of(days: list[list[str]]) -> list[list[bool]]:
    """What the ledger settles of each day's reader-days, a month in all."""
    counted: Counter[str] = Counter()
    return [admitted(day, counted) for day in days]


def test_forty_readers_are_all_admitted() -> None:
    assert all(map(all, settled_of([[f"r{number}" for number in range(40)]] * 30)))


def test_the_cap_is_a_twentieth_and_not_a_half() -> None:
    """A reader with half of the reader-days of a month beside 24 others: with a cap of .50 all of
    them would be settled."""
    twelve = [[f"r{(20 * day + number) % 24}" for number in range(20)] for day in range(12)]
    found = settled_of([["loud"] * 20 + others for others in twelve])
    loud = sum(sum(day[:20]) for day in found)
    others = sum(sum(day[20:]) for day in found)
    assert others == 240  # a loud reader silences nobody
    assert 10 <= loud <= 24
    assert most_allowed(400, readers=20) == 20
    assert most_allowed(400, readers=10) == 80


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=12), max_size=40))
@settings(max_examples=40, deadline=None)
def test_no_reader_is_above_its_share_when_it_is_admitted(days: list[list[str]]) -> None:
    counted: Counter[str] = Counter()
    for day in days:
        everybody = len({*counted, *day})
        most = most_allowed(counted.total() + len(day), readers=everybody)
        before = counted.copy()
        found = admitted(day, counted)
        for reader in set(day):
            assert counted[reader] <= max(most, before[reader])
        assert counted.total() == before.total() + sum(found)


def alarm_of(readers: list[str], values: list[float]) -> tuple[int | None, float, int]:
    """(sequence of the first alarm, share of its three heaviest readers, distinct readers)."""
    ledger = stream_of(values)
    state = Detector()
    for block in blocks_of(ledger, most=None):
        state, alarm = fold(state, block, BOUNDS, threshold=C)
        if alarm is not None:
            drop = since_the_drop(ledger[: alarm.sequence], BOUNDS)
            carried = carried_by(drop, dict(enumerate(readers, start=1)), BOUNDS)
            return alarm.sequence, carried.share, carried.of
    return None, 0.0, 0


def test_three_of_fifty_readers_voting_hundredfold_in_a_day_are_three_values() -> None:
    """A reader-day is one value: 300 bad votes among 47 good readers move nothing."""
    rng = random.Random(2)
    for seed in range(20):
        values = [*thumbs(300, 0.8, seed=seed), *thumbs(47, 0.8, seed=seed + 99), 0.0, 0.0, 0.0]
        tail = values[300:]
        rng.shuffle(tail)
        assert alarm_of([f"r{i}" for i in range(350)], values[:300] + tail)[0] is None


def test_three_of_fifty_readers_voting_each_of_a_hundred_days_are_six_percent() -> None:
    """They are admitted (2 % each) and pull the mean from .80 to .752, which is no alarm."""
    readers = [f"r{number}" for _ in range(100) for number in range(50)]
    for seed in (0, 2):
        rng = random.Random(seed)
        values = [
            0.0 if reader in {"r0", "r1", "r2"} else float(rng.random() < 0.8) for reader in readers
        ]
        assert alarm_of(readers, values)[0] is None


def test_three_readers_with_nobody_else_about_alarm_and_are_known_as_three() -> None:
    sequence, share, of = alarm_of(["r0", "r1", "r2"] * 10, [0.0] * 30)
    assert sequence is not None
    assert of == 3
    assert share > 0.99


def test_a_true_drop_is_carried_by_many() -> None:
    for seed in range(10):
        readers = [f"r{(7 * number) % 50}" for number in range(900)]
        values = thumbs(500, 0.8, seed=seed) + thumbs(400, 0.5, seed=seed + 50)
        sequence, share, of = alarm_of(readers, values)
        assert sequence is not None
        assert share < 0.5
        assert of > 10


def at_the_alarm(of: int, values: list[float], *, turned: int = 0) -> EvidenceShares | None:
    """Who carries it when each reader votes once a day in an order by lot; None: no alarm.

    Args:
        turned: so many readers give 0, whatever the value.
    """
    draw = random.Random(of)
    readers: list[str] = []
    while len(readers) < len(values):
        readers += draw.sample([f"r{number}" for number in range(of)], of)
    ledger = stream_of(
        [
            0.0 if int(reader[1:]) < turned else value
            for reader, value in zip(readers, values, strict=False)
        ]
    )
    state = Detector()
    for block in blocks_of(ledger, most=None):
        state, alarm = fold(state, block, BOUNDS, threshold=C)
        if alarm is not None:
            drop = since_the_drop(ledger[: alarm.sequence], BOUNDS)
            return carried_by(drop, dict(enumerate(readers, start=1)), BOUNDS)
    return None


@pytest.mark.parametrize("of", [3, 5, 8, 12])
def test_a_fall_that_all_of_a_few_readers_see_is_theirs(of: int) -> None:
    """With five or fewer readers three always "carried it": never a retraining."""
    found = [at_the_alarm(of, thumbs(500, 0.5, seed=seed)) for seed in range(20)]
    assert all(one is not None for one in found)
    held = sum(one.by_few for one in found if one is not None)
    assert held <= 8  # the next alarm is decided anew
    if of < 8:
        assert all(one.share > 0.5 for one in found if one is not None)  # the share alone held all


@pytest.mark.parametrize(("of", "turned"), [(3, 1), (5, 1), (5, 3), (12, 3)])
def test_readers_who_turn_while_the_others_do_not_are_known(of: int, turned: int) -> None:
    found = [at_the_alarm(of, thumbs(900, 0.8, seed=seed), turned=turned) for seed in range(20)]
    alarms = [one for one in found if one is not None]
    assert len(alarms) >= 15
    assert sum(one.by_few for one in alarms) >= 0.8 * len(alarms)


@pytest.mark.parametrize("of", [3, 5])
def test_new_readers_who_carry_it_alone_are_known(of: int) -> None:
    """Keys that were made for it, at a time when nobody else votes."""
    ledger = stream_of([*thumbs(200, 0.8, seed=1), *([0.0] * 40)])
    readers = [f"usual {number}" for number in range(200)]
    readers += [f"new {number % of}" for number in range(40)]
    named = dict(enumerate(readers, start=1))
    assert carried_by(ledger[200:], named, BOUNDS, before=ledger[:200]).by_few
    steady = {number: f"r{number % of}" for number in named}
    assert not carried_by(ledger[200:], steady, BOUNDS, before=ledger[:200]).by_few


def test_a_fall_of_one_class_is_not_taken_for_that_of_some_readers() -> None:
    """By all values since the drop 11 of 20 were held back: three classes had not fallen."""
    fall = partial(stream, regular=True, classes=4, fall=0.4, of_one_class=True)
    ends = [followed(fall(seed), only_first=True).alarms for seed in range(20)]
    decided = [alarms[0].decision.tags.get("twin/decided_by") for alarms in ends if alarms]
    assert len(decided) == 20
    assert sum(cause in HELD_BACK for cause in decided) <= 6


def test_judged_traces_have_no_reader_and_count_one_by_one() -> None:
    ledger = stream_of([0.0] * 20)
    carried = carried_by(ledger, {}, BOUNDS)
    assert (carried.of, round(carried.share, 2), carried.by_few) == (20, 0.15, False)
    assert carried_by([], {}, BOUNDS).share == 0.0
    assert carried_by(stream_of([1.0] * 5), {}, BOUNDS).share == 0.0
