"""Rows: is a judge that moves seen by the answers that it keeps, and one that does not left alone?

Belongs here: streams of kept answers of a judge that moves. Does not belong here: readers' alarms
(`families.py`).

A judge scores 40 of an author's answers a day; on day 25 it begins to give less. Each day it scores
40 kept answers anew, a quarter of which goes after 18 days; each time it scatters by its .12.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.families import JUDGED
from tests.bench.retraining.rows import Form, Row, row
from twin_resources.quality.retraining.judge_reference_set import QUARTER_DAYS, QUARTERS
from twin_resources.statistics.judge_drift import FIRST_SCORES, KeptDay, judge_move, kept_day

LENGTH, CHANGES_AT = 5_000, 1_000
GOOD_SHARE = 0.85
MEAN, APART, SPREAD = 0.85, 0.6, 0.12  # of a judge's scores of good answers; bad ones lower
KEPT, DAYS, CHANGES_DAY = 40, LENGTH // JUDGED, CHANGES_AT // JUDGED


def moved_judges(form: Form) -> list[Row]:
    """Days until a judge that gives less is set aside, and how many never are."""
    streams = form.streams(60, quick=4)
    rows: list[Row] = []
    for number, less in enumerate((0.05, 0.10)):
        rng = np.random.default_rng([23, number])
        days = [_set_aside_on(rng, harsher=less) for _ in range(streams)]
        after = [day - CHANGES_DAY for day in days if day is not None and day >= CHANGES_DAY]
        peers = {"days until it is set aside, median": float(np.median(after)) if after else -1.0}
        name = f"judge: gives {less:.2f} less ({JUDGED} answers a day, {streams} streams): not seen"
        share = 100.0 - 100.0 * len(after) / streams
        rows.append(row(name, share, "%", at_most=5.0, peers=peers))
    return [*rows, *_in_control(form)]


def _in_control(form: Form) -> list[Row]:
    """Judges that have not moved, over 5,000 values: how many are set aside all the same."""
    streams = form.streams(100, quick=3)
    rows: list[Row] = []
    for number, (a_day, level) in enumerate(((JUDGED, 0.0), (JUDGED, 0.03), (10, 0.0))):
        rng = np.random.default_rng([24, number])
        days = LENGTH // a_day
        wrong = sum(_set_aside_on(rng, days=days, levels=level) is not None for _ in range(streams))
        name = f"judge: in control, days of sd {level:.2f} ({a_day} answers a day"
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
    kept: list[tuple[bool, list[float]]] = []
    known: list[KeptDay] = []
    for day in range(days):
        if day % QUARTER_DAYS == 0:
            kept = kept[KEPT // QUARTERS :] if kept else []
            new = rng.random(KEPT - len(kept)) < GOOD_SHARE
            kept += [(good, list[float]()) for good in new.tolist()]
        less = harsher * (day >= CHANGES_DAY) + rng.normal(0.0, levels)
        scores = _scores(rng, np.array([good for good, _ in kept]))
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


def _scores(rng: np.random.Generator, good: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.clip(rng.normal(MEAN - APART * ~good, SPREAD), 0.0, 1.0)
