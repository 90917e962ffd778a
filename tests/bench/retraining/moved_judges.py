"""Rows: alarms on a judge's own scores; has the judge moved, or did the answers fall?

Belongs here: streams of a judge that moves, or of answers that fall, and the control of its alarms.
Does not belong here: readers' alarms (`controls.py`, where the judges are from).

A judge scores 40 of an author's answers a day; at value 1,000 it begins to give less, or the
answers get worse. The control scores up to a thousand answers of before the drop again, nine tenths
of which come back.
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
from twin_resources.statistics.blocks import days_of
from twin_resources.statistics.detector import threshold
from twin_resources.statistics.diagnosis import since_the_drop
from twin_resources.statistics.fall_estimates import cause_of_judge, cells_of
from twin_resources.statistics.retraining import decide
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import advance, start

STREAM = "judge:general@1"
MOVED = (
    World("the judge gives .05 less", harsher=0.05),
    World("the judge gives .10 less", harsher=0.10),
)
FALLEN = (
    World("answers fall: judge .05 lower", worse=0.05 / GENERAL[0].apart),
    World("answers fall: judge .10 lower", worse=0.10 / GENERAL[0].apart),
)


def moved_judges(form: Form) -> list[Row]:
    """What the first alarm of each stream leads to."""
    streams = form.streams(60, quick=4)
    rows: list[Row] = []
    for number, world in enumerate((*MOVED, *FALLEN)):
        rng = np.random.default_rng([22, number])
        found = Counter(_first_decision(rng, world) for _ in range(streams))
        name = f"control: {world.name} ({JUDGED} answers a day, {streams} streams)"
        alarmed = max(1, streams - found["no alarm"])
        trained = 100.0 * found["train"] / alarmed
        peers = {"alarms": float(streams - found["no alarm"])}
        if world.is_real:
            rows.append(row(f"{name}: stopped", 100 - trained, "%", at_most=5.0, peers=peers))
        else:
            rows.append(row(f"{name}: trained", trained, "%", at_most=5.0, peers=peers))
    return rows


def _first_decision(rng: np.random.Generator, world: World) -> str:
    judge, number = GENERAL[0], np.arange(LENGTH)
    changed = number >= CHANGES_AT
    good = rng.random(LENGTH) < GOOD_SHARE - world.worse * changed
    scores = np.clip(judge.scores(rng, good) - world.harsher * changed, 0.0, 1.0)
    ledger = _settled(scores)
    watch = start(author="mara", stream=STREAM, version="v1")
    for day in days_of(ledger):
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
