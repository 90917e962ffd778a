"""Rows: alarms on a judge's own scores; has the judge moved, or did the answers fall?

Belongs here: streams of a judge that moves, or of answers that fall, and the control of its alarms.
Does not belong here: readers' alarms (`controls.py`, where the judges are from).

A judge scores 40 of an author's answers a day; at value 1,000 it begins to give less, or the
answers get worse. The control scores up to a thousand answers of before the drop again, nine tenths
of which come back. Each day the judge scores 40 kept answers anew, a quarter of which goes after 18
days; each time it scatters by all of its .12. Where that shows that it has moved, before an alarm
or on its day, it is set aside, and nothing is trained.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.controls import (
    CHANGES_AT,
    GENERAL,
    GOOD_SHARE,
    LENGTH,
    MISSING,
    TOLERANCE,
    World,
    day_of,
)
from tests.bench.retraining.families import JUDGED
from tests.bench.retraining.rows import Form, Row, row
from tests.bench.retraining.streams import alarm_context
from twin_resources.quality.retraining.fall_controls import BEFORE_DAYS, MOST_ANSWERS
from twin_resources.quality.retraining.kept_answers import QUARTER_DAYS, QUARTERS
from twin_resources.statistics.blocks import days_of
from twin_resources.statistics.detector import threshold
from twin_resources.statistics.diagnosis import since_the_drop
from twin_resources.statistics.fall_estimates import cause_of_judge, cells_of
from twin_resources.statistics.judge_moves import FIRST_SCORES, KeptDay, judge_move, kept_day
from twin_resources.statistics.retraining import decide
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import advance, start

STREAM = "judge:general@1"
KEPT, DAYS, CHANGES_DAY = 40, LENGTH // JUDGED, CHANGES_AT // JUDGED
MOVED = (
    World("the judge gives .05 less", harsher=0.05),
    World("the judge gives .10 less", harsher=0.10),
)
FALLEN = (
    World("answers fall: judge .05 lower", worse=0.05 / GENERAL[0].apart),
    World("answers fall: judge .10 lower", worse=0.10 / GENERAL[0].apart),
)


def moved_judges(form: Form) -> list[Row]:
    """What comes first in each stream, an alarm's decision or that the judge is set aside."""
    streams = form.streams(60, quick=4)
    rows: list[Row] = []
    for number, world in enumerate((*MOVED, *FALLEN)):
        rng, of_kept = np.random.default_rng([22, number]), np.random.default_rng([23, number])
        days = [_set_aside_on(of_kept, harsher=world.harsher) for _ in range(streams)]
        alone = Counter(_first_decision(rng, world, set_aside=None) for _ in range(streams))
        rng = np.random.default_rng([22, number])  # the same streams
        found = Counter(_first_decision(rng, world, set_aside=day) for day in days)
        name = f"control: {world.name} ({JUDGED} answers a day, {streams} streams)"
        ended = max(1, streams - found["no alarm"])
        trained = 100.0 * found["train"] / ended
        peers = {
            "alarms": float(ended - found["set aside"]),
            "set aside": float(found["set aside"]),
            "trained without kept answers, %": 100.0 * alone["train"] / streams,
        }
        if world.is_real:
            rows.append(row(f"{name}: stopped", 100 - trained, "%", at_most=5.0, peers=peers))
            continue
        after = [day - CHANGES_DAY for day in days if day is not None and day >= CHANGES_DAY]
        peers["days until it is set aside, median"] = float(np.median(after)) if after else -1.0
        rows.append(row(f"{name}: trained", trained, "%", at_most=5.0, peers=peers))
        named = 100.0 * (found["set aside"] + found["held_back"]) / streams
        rows.append(row(f"{name}: cause not named", 100.0 - named, "%", at_most=20.0))
    return [*rows, *_in_control(form)]


def _in_control(form: Form) -> list[Row]:
    """Judges that have not moved, over 5,000 values: how many are set aside all the same."""
    streams = form.streams(100, quick=3)
    rows: list[Row] = []
    for number, (a_day, level) in enumerate(((JUDGED, 0.0), (JUDGED, 0.03), (10, 0.0))):
        rng = np.random.default_rng([24, number])
        days = LENGTH // a_day
        wrong = sum(_set_aside_on(rng, days=days, levels=level) is not None for _ in range(streams))
        name = f"control: a judge in control, days of sd {level:.2f} ({a_day} answers a day"
        share = 100.0 * wrong / streams
        rows.append(row(f"{name}, {streams} streams): set aside", share, "%", at_most=5.0))
    return rows


def _set_aside_on(
    rng: np.random.Generator, *, harsher: float = 0.0, days: int = DAYS, levels: float = 0.0
) -> int | None:
    """The day on which kept answers show that the judge has moved; None: on none.

    Args:
        harsher: what it gives less from `CHANGES_DAY` on.
        levels: spread of what it gives more or less on each day.
    """
    judge = GENERAL[0]
    kept: list[tuple[bool, list[float]]] = []
    known: list[KeptDay] = []
    for day in range(days):
        if day % QUARTER_DAYS == 0:
            kept = kept[KEPT // QUARTERS :] if kept else []
            new = rng.random(KEPT - len(kept)) < GOOD_SHARE
            kept += [(good, list[float]()) for good in new.tolist()]
        less = harsher * (day >= CHANGES_DAY) + rng.normal(0.0, levels)
        scores = judge.scores(rng, np.array([good for good, _ in kept]))
        differences: list[float] = []
        for score, (_, given) in zip(np.clip(scores - less, 0.0, 1.0).tolist(), kept, strict=True):
            if len(given) >= FIRST_SCORES:
                differences.append(score - sum(given[:FIRST_SCORES]) / FIRST_SCORES)
            given.append(score)
        if differences:
            known.append(kept_day(day, differences))
            if judge_move(known).has_moved:
                return day
    return None


def _first_decision(rng: np.random.Generator, world: World, *, set_aside: int | None) -> str:
    judge, number = GENERAL[0], np.arange(LENGTH)
    changed = number >= CHANGES_AT
    good = rng.random(LENGTH) < GOOD_SHARE - world.worse * changed
    scores = np.clip(judge.scores(rng, good) - world.harsher * changed, 0.0, 1.0)
    ledger = _settled(scores)
    watch = start(author="mara", stream=STREAM, version="v1")
    for day in days_of(ledger):
        if set_aside is not None and day_of(day[0]) >= set_aside:
            return "set aside"
        before = watch
        watch, alarm = advance(before, day, first=ledger, threshold=threshold(armed_streams=1))
        if alarm is None:
            continue
        assert before.baseline is not None
        bounds, known = before.baseline.bounds, ledger[: alarm.sequence]
        first = since_the_drop(known[alarm.since - 1 :], bounds)[0]
        is_before = [day_of(one) < day_of(first) for one in known]
        stored = [
            cells_of(one for one, earlier in zip(known, is_before, strict=True) if earlier is side)
            for side in (True, False)
        ]
        again = np.clip(judge.scores(rng, good) - world.harsher, 0.0, 1.0)
        asked = [
            one
            for one in _settled(again)[: alarm.sequence]
            if day_of(first) - BEFORE_DAYS <= day_of(one) < day_of(first)
            and rng.random() >= MISSING
        ]
        newest = cells_of(asked[-MOST_ANSWERS:])
        cause = cause_of_judge((stored[0], stored[1]), newest, tolerance=TOLERANCE)
        return decide(replace(alarm_context(alarm, bounds, known), fall_cause=cause)).kind
    return "no alarm"


def _settled(scores: NDArray[np.float64]) -> list[SettledValue]:
    return [
        SettledValue(index + 1, "mara", STREAM, "v1", "all", score, index // JUDGED)
        for index, score in enumerate(scores.tolist())
    ]
