"""A few readers do not decide for all."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.retraining.poisoned_keys import HELD_BACK, stream
from tests.bench.retraining.streams import followed
from tests.unit.statistics.settled_values import stream_of, thumbs
from twin_resources.statistics.baseline import certify
from twin_resources.statistics.blocks import blocks_of, days_of
from twin_resources.statistics.detector import Detector, fold, threshold
from twin_resources.statistics.diagnosis import since_the_drop
from twin_resources.statistics.poisoning import (
    EvidenceShares,
    admitted,
    carried_by,
    most_allowed,
)
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import advance, start

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


def poisoned(
    seed: int, *, keys: int, fall: float = 0.0
) -> tuple[list[SettledValue], dict[str, int]]:
    """25 readers a day of 200, each first seen in one of ten weeks; from day 20 on `keys` keys that
    were made in one week give 0 each day. And the day on which each was first seen."""
    draw = random.Random(seed)
    first = {f"r{number}": -70 + number % 70 for number in range(200)}
    values: list[SettledValue] = []
    for day in range(80):
        came = draw.sample([f"r{number}" for number in range(200)], 25)
        evil = [f"key {number}" for number in range(keys)] if day >= 20 else []
        for reader in draw.sample(came + evil, 25 + len(evil)):
            first.setdefault(reader, day)
            mean = 0.8 - (fall if day >= 20 else 0.0)
            value = 0.0 if reader in evil else float(draw.random() < mean)
            number = len(values) + 1
            one = SettledValue(number, "mara", "thumbs", "v1", "how_to", value, day, reader)
            values.append(one)
    return values, first


def looked_at(values: list[SettledValue], first: dict[str, int]) -> list[EvidenceShares]:
    """Who carries each alarm of a stream."""
    found: list[EvidenceShares] = []
    watch = start(author="mara", stream="thumbs", version="v1")
    for day in days_of(values):
        held = watch.baseline
        watch, alarm = advance(watch, day, first=values, threshold=C)
        if alarm is not None and held is not None:
            since = values[alarm.since - 1 : alarm.sequence]
            drop = since_the_drop(since, held.bounds)
            readers = {one.sequence: one.reader for one in since}
            before = [one for one in since if one.sequence < drop[0].sequence]
            found.append(carried_by(drop, readers, held.bounds, before=before, first_days=first))
    return found


def test_keys_of_one_week_train_nothing_however_long_they_go_on() -> None:
    """Five of 30 readers a day: with the look at three readers alone some of it would train."""
    alarms = [one for seed in range(6) for one in looked_at(*poisoned(seed, keys=5))]
    assert len(alarms) >= 6
    assert all(one.by_few or one.group for one in alarms)
    of_a_week = [one.groups[0].carries for one in alarms]
    assert sum(of_a_week) >= 0.8 * len(alarms)


def test_a_fall_that_readers_of_all_weeks_see_is_no_attack() -> None:
    alarms = [one for seed in range(6) for one in looked_at(*poisoned(seed, keys=0, fall=0.3))[:1]]
    assert len(alarms) == 6
    assert not any(one.by_few or one.group for one in alarms)


def test_a_fall_of_one_class_is_not_taken_for_that_of_some_readers() -> None:
    """By all values since the drop 11 of 20 were held back: three classes had not fallen."""
    fall = partial(stream, regular=True, classes=4, fall=0.4, of_one_class=True)
    ends = [followed(fall(seed), only_first=True).alarms for seed in range(20)]
    decided = [alarms[0].decision.tags.get("twin/decided_by") for alarms in ends if alarms]
    assert len(decided) == 20
    assert sum(cause in HELD_BACK for cause in decided) <= 6


def test_keys_train_nothing_after_a_bad_day_of_everybody() -> None:
    """Others are compared on the days on which the keys have a value."""
    first = dict.fromkeys(["key 0", "key 1"], 10)
    number, values = 0, list[SettledValue]()
    for day in range(14):
        readers = [f"r{10 * day + one}" for one in range(10)] + (list(first) if day >= 10 else [])
        for reader in readers:
            number += 1
            bad = reader in first or (day == 2 and number % 3) or number % 5 == 0
            value = 0.0 if bad else 1.0
            values.append(
                SettledValue(number, "mara", "thumbs", "v1", "how_to", value, day, reader)
            )
    drop = [one for one in values if (one.day or 0) >= 2]
    named = {one.sequence: one.reader for one in drop}
    [week, _] = carried_by(drop, named, BOUNDS, first_days=first).groups
    assert (week.readers, round(week.of_values, 2), week.carries) == (2, 0.17, True)


def test_where_everybody_came_in_the_same_week_it_says_nothing() -> None:
    values, first = poisoned(1, keys=0, fall=0.3)
    [one, *_] = looked_at(values, dict.fromkeys(first, 3))
    assert one.groups[0].of_values == 1.0
    assert one.group is None


def test_keys_that_come_more_often_than_visitors_are_known() -> None:
    """Visitors vote once ever, so that those of a week are all there is; five keys vote daily."""
    number, values = 0, list[SettledValue]()
    draw = random.Random(4)
    for day in range(40):
        readers = [f"once {day} {visitor}" for visitor in range(25)]
        readers += [f"key {key}" for key in range(5)] if day >= 36 else []
        for reader in draw.sample(readers, len(readers)):
            number += 1
            value = 0.0 if reader.startswith("key") else float(draw.random() < 0.8)
            values.append(
                SettledValue(number, "mara", "thumbs", "v1", "how_to", value, day, reader)
            )
    first: dict[str, int] = {}
    for one in values:
        first.setdefault(one.reader, one.day or 0)
    drop = [one for one in values if (one.day or 0) >= 36]
    readers_of = {one.sequence: one.reader for one in drop}
    found = carried_by(drop, readers_of, BOUNDS, first_days=first)
    assert not found.groups[0].carries
    assert found.group is not None
    assert (found.group.readers, found.group.what) == (5, "who came more often than most")
    honest = [one for one in drop if not one.reader.startswith("key")]
    fell = [replace(one, value=float(draw.random() < 0.5)) for one in honest]
    assert carried_by(fell, readers_of, BOUNDS, first_days=first).group is None


def test_judged_traces_have_no_reader_and_count_one_by_one() -> None:
    ledger = stream_of([0.0] * 20)
    carried = carried_by(ledger, {}, BOUNDS)
    assert (carried.of, round(carried.share, 2), carried.by_few) == (20, 0.15, False)
    assert carried_by([], {}, BOUNDS).share == 0.0
    assert carried_by(stream_of([1.0] * 5), {}, BOUNDS).share == 0.0
