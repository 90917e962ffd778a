"""Rows: readers' alarms where a share of the readers is answered by the anchor, and no judge is.

Belongs here: worlds in which both versions' readers change, or the stable version's answers fall.
Does not belong here: the decision (`statistics/fall_estimates.py`), judges (`controls.py`), when an
alarm is raised (`delays.py`).

Readers vote some hundred times a day, each once; by lot a share of them is answered by the anchor,
which is as good as the stable version was. The alarm comes as many of the stable version's votes
after the change as it does at the median, and the day of the change is known. It is held open for
the anchor's readers until they say enough, for five days at most. In the rows "half at an alarm"
half of the readers are the anchor's from the day after it; production does not do that.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.controls import (
    CHANGED_READERS,
    GOOD_SHARE,
    REAL_FALLS,
    TOLERANCE,
    UP,
    World,
)
from tests.bench.retraining.rows import Form, Row, row
from twin_resources.statistics.fall_estimates import (
    WAIT_DAYS,
    DayCell,
    FallCause,
    TwoTimes,
    anchor_fall,
    cause_by_anchor,
    is_worth_waiting,
)

DELAY = {0.05: 3_425, 0.1: 485, 0.2: 170}  # votes until an alarm, median (RESULTS.md)
WAIT = int(WAIT_DAYS)
HALF = 0.5


@dataclass(frozen=True)
class AnchorWorld:
    """Votes of one author.

    Attributes:
        days: of each; the change is on day 0. lot: in [0, 1]; below a share: the anchor's reader.
        stable, anchor: the thumb if that version answers.
        share: of the readers, on the anchor. alarm_day: of the alarm.
    """

    days: NDArray[np.int64]
    lot: NDArray[np.float64]
    stable: NDArray[np.float64]
    anchor: NDArray[np.float64]
    share: float
    alarm_day: int

    def around(self, today: int, *, at_alarm: float) -> tuple[TwoTimes, TwoTimes]:
        """Both versions' votes of before the change and since, until today.

        Args:
            at_alarm: the anchor's share from the day after the alarm.
        """
        of_anchor = self.lot < np.where(self.days > self.alarm_day, at_alarm, self.share)
        before, since = self.days < 0, (self.days >= 0) & (self.days <= today)
        own, theirs = (
            (self._cells(values, which & before), self._cells(values, which & since))
            for values, which in ((self.stable, ~of_anchor), (self.anchor, of_anchor))
        )
        return own, theirs

    def _cells(self, values: NDArray[np.float64], which: NDArray[np.bool_]) -> list[DayCell]:
        days, index = np.unique(self.days[which], return_inverse=True)
        counts, totals = np.bincount(index), np.bincount(index, weights=values[which])
        return [
            DayCell("all", f"day {day}", int(count), float(total), float(total))
            for day, count, total in zip(days, counts, totals, strict=True)
        ]


def drawn_world(
    rng: np.random.Generator, world: World, *, per_day: int, share: float, days_before: int
) -> AnchorWorld:
    """One author in this world; only the stable version's answers fall."""
    fall = world.worse * (UP[True] - UP[False]) + world.harsher + 0.25 * world.circle
    alarm_day = math.ceil(DELAY[round(fall, 2)] / (per_day * (1.0 - share))) - 1
    days = np.repeat(np.arange(-days_before, alarm_day + WAIT + 1), per_day)
    changed = days >= 0
    newcomer = changed & (rng.random(len(days)) < world.circle)
    lowered = world.harsher * changed + 0.25 * newcomer
    quality, taste = rng.random(len(days)), rng.random(len(days))
    thumbs = [
        (taste < np.where(quality < good, UP[True], UP[False]) - lowered).astype(float)
        for good in (GOOD_SHARE - world.worse * changed, GOOD_SHARE)
    ]
    return AnchorWorld(days, rng.random(len(days)), thumbs[0], thumbs[1], share, alarm_day)


def asked(drawn: AnchorWorld, *, at_alarm: float) -> tuple[FallCause, int]:
    """What the anchor's readers say, and after how many days of waiting."""
    for waited in range(WAIT):
        today = drawn.alarm_day + waited
        stable, anchor = drawn.around(today, at_alarm=at_alarm)
        seen = anchor_fall(stable, anchor)
        cause = cause_by_anchor(seen, tolerance=TOLERANCE)
        if cause.name == "answers" or (seen is not None and seen.is_sharp):
            return cause, waited
        more = WAIT - waited
        if not is_worth_waiting(stable, anchor, share=at_alarm, days=today + 1.0, more=more):
            return cause, waited
    last = drawn.around(drawn.alarm_day + WAIT, at_alarm=at_alarm)
    return cause_by_anchor(anchor_fall(*last), tolerance=TOLERANCE), WAIT


def anchor_readers(form: Form) -> list[Row]:
    """Changed readers and real falls, by votes a day, the anchor's share and its time before."""
    streams = form.streams(400, quick=20)
    rows: list[Row] = []
    for per_day, share, days_before in (
        (200, 0.05, 28),
        (200, 0.05, 150),
        (200, 0.2, 150),
        (1_000, 0.05, 28),
        (5_000, 0.05, 28),
    ):
        how = f"{per_day:,} votes a day, {share:.0%} on it for {days_before} days"
        for number, world in enumerate((*CHANGED_READERS, *REAL_FALLS)):
            for at_alarm in (share, HALF):
                rng = np.random.default_rng([23, number, per_day, int(100 * share), days_before])
                found: Counter[str] = Counter()
                waits: list[int] = []
                for _ in range(streams):
                    drawn = drawn_world(
                        rng, world, per_day=per_day, share=share, days_before=days_before
                    )
                    cause, waited = asked(drawn, at_alarm=at_alarm)
                    found[cause.name] += 1
                    waits.append(waited)
                raised = ", half at an alarm" if at_alarm == HALF else ""
                name = f"anchor: {world.name} ({how}{raised}; {streams} alarms)"
                rows.append(_told(name, world, found, float(np.mean(waits))))
    return rows


def _told(name: str, world: World, found: Counter[str], waited: float) -> Row:
    """A row; what is not named as the readers' is trained, as without the anchor."""
    streams = found.total()
    named = 100.0 * found["readers"] / streams
    peers = {"named as the answers', %": 100.0 * found["answers"] / streams, "days waited": waited}
    if world.is_real:
        return row(f"{name}: stopped", named, "%", at_most=5.0, peers=peers)
    return row(f"{name}: trained", 100.0 - named, "%", at_most=5.0, peers=peers)
