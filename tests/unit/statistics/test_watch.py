"""Following a stream: certify, bet, alarm; whatever the ticks, the values decide."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.statistics.settled_values import stream_of, thumbs
from twin_resources.statistics.baseline import certify
from twin_resources.statistics.blocks import days_of
from twin_resources.statistics.detector import Alarm, threshold
from twin_resources.statistics.values import ImpossibleValue, SettledValue
from twin_resources.statistics.watch import (
    Batches,
    DetectorStep,
    Watch,
    advance,
    batch_due,
    shares_from,
    start,
    steps,
)

SMALL = Batches({60: 0.5, 120: 0.5}, fewest=20)
C = threshold(armed_streams=1, horizon=1_000)


def watch_of(version: str = "v1", **values: object) -> Watch:
    return start(author="mara", stream="thumbs", version=version, **values)  # type: ignore[arg-type]


def followed(
    watch: Watch, ledger: list[SettledValue], ticks: list[int] | None = None
) -> tuple[Watch, list[Alarm]]:
    """As the sensor does it: ticks that end at these indices, the state through JSON each time."""
    alarms: list[Alarm] = []
    for end in [*(ticks or []), len(ledger)]:
        while True:
            watch, alarm = advance(
                Watch.from_json(watch.to_json()),
                ledger[:end],
                first=ledger,
                threshold=C,
                batches=SMALL,
            )
            if alarm is None:
                break
            alarms.append(alarm)
    return watch, alarms


def test_an_authors_first_version_waits_for_its_batch() -> None:
    ledger = stream_of([*thumbs(59, 0.9, seed=1), 1.0, *[0.0] * 5])
    waiting, _ = followed(watch_of(), ledger[:59])
    assert (waiting.armed, waiting.seen, waiting.detector.bets) == (False, 59, 0)
    armed, _ = followed(waiting, ledger)
    assert armed.armed
    assert armed.baseline == certify(ledger[:60], fewest=20, delta=0.025)
    assert (armed.seen, armed.detector.bets) == (65, 5)


def test_a_new_version_is_bet_on_from_its_first_value() -> None:
    ledger = stream_of([0.0] * 14, version="v2")
    watch, alarms = followed(watch_of("v2", floor={"how_to": 0.7}), ledger)
    assert [(alarm.number, alarm.version) for alarm in alarms] == [(1, "v2")]
    assert watch.armed


def test_a_forced_version_certifies_nothing() -> None:
    ledger = stream_of(thumbs(130, 0.9, seed=2))
    watch, _ = followed(watch_of(certifies=False, floor={"how_to": 0.5}), ledger)
    assert watch.baseline is not None
    assert watch.baseline.certified_from == 0
    assert watch.baseline.bounds == {"how_to": 0.5}


def test_other_streams_and_versions_are_passed_over() -> None:
    own = stream_of(thumbs(70, 0.9, seed=3))
    between = [
        SettledValue(value.sequence * 2 + odd, "mara", stream, version, "how_to", value.value)
        for value in own
        for odd, stream, version in ((0, "thumbs", "v1"), (1, "judge:a@1", "v1"))
    ]
    mine = [value for value in between if value.stream == "thumbs"]
    assert followed(watch_of(), between) == followed(watch_of(), mine)
    other = stream_of([0.0] * 50, version="v9")
    assert followed(watch_of(), other) == (watch_of(), [])


def test_another_authors_values_are_refused() -> None:
    foreign = SettledValue(1, "ben", "thumbs", "v1", "how_to", 1.0)
    with pytest.raises(ImpossibleValue, match="score 1 of ben"):
        advance(watch_of(), [foreign], first=[], threshold=C)


def test_a_batch_that_does_not_reach_is_refused() -> None:
    ledger = stream_of(thumbs(60, 0.9, seed=4))
    with pytest.raises(ImpossibleValue, match="pass `first` from the ledger"):
        advance(watch_of(), ledger, first=ledger[:59], threshold=C, batches=SMALL)


def test_it_stops_at_an_alarm_and_goes_on_after_it() -> None:
    ledger = stream_of([*thumbs(60, 0.9, seed=5), *[0.0] * 40])
    watch, alarm = advance(watch_of(), ledger, first=ledger, threshold=C, batches=SMALL)
    assert alarm is not None
    assert watch.detector.last_sequence == alarm.sequence < 100
    _, alarms = followed(watch_of(), ledger)
    assert [found.number for found in alarms] == list(range(1, len(alarms) + 1))
    assert alarms[0] == alarm


def test_the_first_values_are_read_when_a_batch_is_due() -> None:
    ledger = stream_of(thumbs(130, 0.9, seed=7))
    watch, needed = watch_of(), []
    for begin in range(0, 130, 10):
        due = batch_due(watch, 10, batches=SMALL)
        needed.append(due)
        watch, _ = advance(
            watch,
            ledger[begin : begin + 10],
            first=ledger[:due],
            threshold=C,
            batches=SMALL,
        )
    assert [due for due in needed if due] == [60, 120]
    assert watch == followed(watch_of(), ledger)[0]
    assert batch_due(watch_of(), 5_000) == 5_000
    assert batch_due(watch_of(), 99) == 0
    assert batch_due(watch_of(certifies=False), 5_000) == 0


def test_steps_are_what_the_detector_saw() -> None:
    ledger = stream_of([*thumbs(84, 0.9, seed=8), *[0.0] * 42, *[1.0] * 6], per_day=6)
    watch, found = watch_of(), list[DetectorStep]()
    for day in days_of(ledger):
        watch, seen = steps(watch, day, first=ledger, threshold=C, batches=SMALL)
        found += seen
    after, alarms = followed(watch_of(), ledger)
    assert watch == after
    assert steps(watch, ledger[-6:], first=ledger, batches=SMALL) == (watch, [])
    assert [step.sequence for step in found] == list(range(1, 133))
    assert {step.bound for step in found[:84]} == {None}
    assert watch.baseline is not None
    assert {step.bound for step in found[84:]} == set(watch.baseline.bounds.values())
    raised = [step for step in found if step.alarm]
    assert [(step.sequence, step.e_value, step.alarm) for step in raised] == [
        (alarm.sequence, alarm.e_value, alarm.number) for alarm in alarms
    ]
    assert alarms
    assert found[-1].e_value == watch.detector.e_value


def test_a_day_is_certified_bet_on_and_ended_as_one() -> None:
    """The baseline of a day's values is bet on from the next one; an alarm ends its day."""
    ledger = stream_of([*thumbs(700, 0.9, seed=5), *[0.0] * 100], per_day=50)
    waiting, _ = followed(watch_of(), ledger[:650])
    assert (waiting.days, waiting.baseline) == (13, None), "values enough, and days too few"
    armed, _ = followed(watch_of(), ledger[:700])
    assert armed.baseline is not None
    assert (armed.seen, armed.baseline.certified_from, armed.detector.bets) == (700, 700, 0)
    _, [first, *_] = followed(watch_of(), ledger)
    assert first.sequence == 750
    assert first.since == 701


def test_a_watch_says_by_which_rules_it_was_made() -> None:
    watch, _ = followed(watch_of(), stream_of(thumbs(70, 0.9, seed=5)))
    assert (watch.rules, watch.fleet) == (3, (1,))
    stored = json.loads(watch.to_json())
    for name in ("rules", "fleet", "tolerance", "after"):
        del stored[name]
    stored["baseline"] |= {"pooled": ["how_to"]}
    del stored["baseline"]["blocks"]
    former = Watch.from_json(json.dumps(stored))
    assert former.rules == 1
    assert former.baseline is not None
    assert former.baseline.certified == {}  # the mean of several classes was no bound of one


def test_a_fleet_shares_delta() -> None:
    ledger = stream_of(thumbs(60, 0.9, seed=5))
    alone, _ = advance(watch_of(), ledger, first=ledger, threshold=C, batches=SMALL)
    among, _ = advance(watch_of(), ledger, first=ledger, threshold=C, batches=SMALL, fleet=200)
    assert alone.baseline is not None
    assert among.baseline is not None
    assert among.baseline == certify(ledger, fewest=20, delta=0.025 / 200)
    assert among.baseline.bounds["how_to"] < alone.baseline.bounds["how_to"] - 0.05
    assert among.fleet == (200,)


def test_what_a_person_called_history_neither_certifies_nor_counts() -> None:
    ledger = stream_of([*thumbs(100, 0.95, seed=1), *thumbs(60, 0.6, seed=2)])
    anew = watch_of(after=100)
    watch, alarm = advance(anew, ledger, first=ledger, threshold=C, batches=SMALL)
    assert alarm is None
    assert watch.seen == 60
    assert watch.baseline == certify(ledger[100:], fewest=20, delta=0.025)


def test_delta_is_shared_out_whole() -> None:
    for first, last in ((100, 8_000), (150, 150), (500, 2_000), (1, 8_000)):
        shares = shares_from(first, last)
        assert list(shares) == sorted(shares)
        assert min(shares) == first
        assert sum(shares.values()) == pytest.approx(1.0)
        assert min(shares.values()) > 0.0
    assert shares_from(100, 8_000) == pytest.approx(Batches().shares)
    assert [Batches().after(seen) for seen in (0, 100, 7_999, 8_000)] == [100, 200, 8_000, 8_000]


qualities = st.lists(st.sampled_from([0.1, 0.8, 0.9]), min_size=1, max_size=4)


@given(
    qualities,
    st.integers(0, 1_000),
    st.lists(st.integers(0, 40), max_size=6),
    st.sampled_from([1, 5]),
)
@settings(max_examples=25, deadline=None)
def test_ticks_crashes_and_lost_cursors_change_no_decision(
    phases: list[float], seed: int, days: list[int], per_day: int
) -> None:
    """One tick, many ticks, repeated ticks, or all again from nothing: same state, same alarms."""
    values = [
        value
        for number, quality in enumerate(phases)
        for value in thumbs(50, quality, seed=seed + number)
    ]
    ledger = stream_of(
        values,
        classes=["fact" if i % 3 else "how_to" for i in range(len(values))],
        per_day=None if per_day == 1 else per_day,
    )
    ticks = [day * per_day for day in days]  # a day is settled in one piece
    once = followed(watch_of(), ledger)
    assert followed(watch_of(), ledger, sorted(ticks)) == once
    assert followed(watch_of(), ledger, ticks) == once  # a clock that goes back, a repeated tick
    again, second = followed(once[0], ledger)
    assert (again, second) == (once[0], [])


def test_a_stream_may_be_armed_from_its_first_batch_and_goes_on_to_its_last() -> None:
    batches = Batches()
    assert batches.first == 100
    assert [batches.after(seen) for seen in (0, 99, 100, 7_999, 8_000, 90_000)] == [
        *(100, 100, 200, 8_000, 8_000, 8_000),
    ]
