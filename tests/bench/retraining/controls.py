"""Rows: readers' alarms with certified judges beside them; who is named, what is trained.

Belongs here: worlds in which answers, readers or both change, and what the loop makes of them.
Does not belong here: the decision (`statistics/fall_estimates.py`), worlds without a judge
(`families.py`).

An answer is good or bad. Readers vote 30 times a day; 100 answers a day are recorded. A judge
scores the first 500, then some a day, and a tenth of its scores is missing; what it leaves open is
judged anew, up to 1,000 recorded answers on either side of the drop. It scores bad answers lower by
its D, of which only the bound is known that `certify` gives for 80 planted pairs. A stream is
certified on its first values, changes at value 1,000, and ends at 5,000 or with the first training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.families import PER_DAY
from tests.bench.retraining.rows import Form, Row, row
from tests.bench.retraining.streams import alarm_context
from twin_resources.quality.retraining.fall_controls import BEFORE_DAYS, MOST_ANSWERS
from twin_resources.statistics.blocks import days_of
from twin_resources.statistics.detector import Alarm, threshold
from twin_resources.statistics.diagnosis import since_the_drop
from twin_resources.statistics.fall_estimates import (
    DayCell,
    TwoTimes,
    cause_between,
    cells_of,
)
from twin_resources.statistics.judges import certify
from twin_resources.statistics.retraining import READERS_CHANGED, AlarmContext, decide
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Watch, advance, start

LENGTH, CHANGES_AT, FIRST_JUDGED, ANSWERS = 5_000, 1_000, 500, 100
CHANGES_DAY = CHANGES_AT // PER_DAY
MISSING = 0.1
GOOD_SHARE = 0.85
UP = {True: 0.9, False: 0.25}  # a reader's thumb for a good answer, for a bad one
TOLERANCE = 0.03
PLANTS = 80
Outcome = Literal["trained", "readers", "no alarm"]


@dataclass(frozen=True)
class MadeJudge:
    """Scores of good answers have this mean and spread; of bad ones a mean lower by `apart`."""

    name: str
    mean: float = 0.85
    apart: float = 0.6
    spread: float = 0.12

    def scores(self, rng: np.random.Generator, good: NDArray[np.bool_]) -> NDArray[np.float64]:
        drawn = rng.normal(self.mean - self.apart * ~good, self.spread)
        return np.clip(drawn, 0.0, 1.0)

    def certified(self, rng: np.random.Generator) -> float:
        """D as a certificate bounds it; two kinds of plants."""
        kinds: dict[str, list[float]] = {}
        for kind in ("foreign", "other_question"):
            own, plant = (self.scores(rng, np.full(PLANTS, good)) for good in (True, False))
            kinds[kind] = (own - plant).tolist()
        certificate = certify(self.name, "general", kinds)
        assert certificate.certified, certificate.reason
        return min(certificate.bounds.values())


GENERAL = (MadeJudge("general"),)
TOPIC_AND_VOICE = (MadeJudge("topic", apart=0.75, spread=0.15), MadeJudge("voice", apart=0.36))


@dataclass(frozen=True)
class World:
    """What changes at value 1,000.

    Attributes:
        worse: so much less of the answers are good.
        harsher: so much less often all readers give a thumb.
        circle: share of the votes that a new circle of readers has, whose votes are .25 lower.
    """

    name: str
    worse: float = 0.0
    harsher: float = 0.0
    circle: float = 0.0

    @property
    def is_real(self) -> bool:
        return self.worse > 0.0


CHANGED_READERS = (
    World("readers give .05 less", harsher=0.05),
    World("readers give .10 less", harsher=0.10),
    World("a new circle has .4 of the votes", circle=0.4),
)
REAL_FALLS = (
    World("answers fall: thumbs .05 lower", worse=0.05 / (UP[True] - UP[False])),
    World("answers fall: thumbs .10 lower", worse=0.10 / (UP[True] - UP[False])),
    World("answers fall: thumbs .20 lower", worse=0.20 / (UP[True] - UP[False])),
)


@dataclass(frozen=True)
class DrawnWorld:
    """One author's values.

    Attributes:
        days: of each recorded answer. `stored`: whether it was judged when it was given.
        scores: judge → what it scores, or would score, of each. `sensitivities`: judge → D.
    """

    votes: list[SettledValue]
    days: NDArray[np.int64]
    stored: NDArray[np.bool_]
    scores: Mapping[str, NDArray[np.float64]]
    sensitivities: Mapping[str, float]

    def judged(self, name: str, first_day: int, today: int, *, anew: bool) -> TwoTimes:
        """A judge's scores of before a day and since, until today, with a control's."""
        chosen = self.stored & (self.days <= today)
        if anew:
            more = np.flatnonzero(~self.stored & (self.days <= today))
            more = more[self.days[more] >= first_day - BEFORE_DAYS]
            for side in (more[self.days[more] < first_day], more[self.days[more] >= first_day]):
                chosen[
                    side[np.linspace(0, len(side), MOST_ANSWERS, endpoint=False, dtype=int)]
                    if len(side) > MOST_ANSWERS
                    else side
                ] = True
        before, since = (chosen & (self.days < first_day)), (chosen & (self.days >= first_day))
        return self._cells(name, before), self._cells(name, since)

    def _cells(self, name: str, which: NDArray[np.bool_]) -> list[DayCell]:
        values, days = self.scores[name][which], self.days[which]
        return [
            DayCell("all", f"day {day}", len(of), float(of.sum()), float((of**2).sum()))
            for day in np.unique(days)
            for of in (values[days == day],)
        ]


def drawn_world(
    rng: np.random.Generator, world: World, judges: Sequence[MadeJudge], *, sampled: int
) -> DrawnWorld:
    """Votes and scores of one author in this world."""
    number = np.arange(LENGTH)
    changed = number >= CHANGES_DAY * PER_DAY
    good = rng.random(LENGTH) < GOOD_SHARE - world.worse * changed
    newcomer = changed & (rng.random(LENGTH) < world.circle)
    up = np.where(good, UP[True], UP[False]) - world.harsher * changed - 0.25 * newcomer
    values = (rng.random(LENGTH) < up).astype(float)
    readers = np.where(newcomer, LENGTH + rng.integers(0, 400, LENGTH), number)
    votes = [
        SettledValue(
            index + 1, "mara", "thumbs", "v1", "all", float(value), index // PER_DAY, f"r{reader}"
        )
        for index, (value, reader) in enumerate(zip(values, readers, strict=True))
    ]
    days = np.repeat(np.arange(LENGTH // PER_DAY + 1), ANSWERS)
    judged_good = rng.random(len(days)) < GOOD_SHARE - world.worse * (days >= CHANGES_DAY)
    lot = rng.random(len(days)) < sampled / ANSWERS
    stored = (np.arange(len(days)) < FIRST_JUDGED) | lot
    return DrawnWorld(
        votes,
        days,
        stored & (rng.random(len(days)) >= MISSING),
        {one.name: one.scores(rng, judged_good) for one in judges},
        {one.name: one.certified(rng) for one in judges},
    )


def outcome(drawn: DrawnWorld, *, asked: bool) -> Outcome:
    """What came first: a training, or the end; `readers` where they were named before it.

    Args:
        asked: whether judges are.
    """
    watch, named = start(author="mara", stream="thumbs", version="v1"), False
    for day in days_of(drawn.votes):
        before = watch
        watch, alarm = advance(before, day, first=drawn.votes, threshold=threshold(armed_streams=1))
        if alarm is None:
            continue
        decision = decide(_context(alarm, before, drawn, asked=asked))
        if decision.kind == "train":
            return "trained"
        if decision.tags["twin/decided_by"] == READERS_CHANGED:
            named = True
            watch = start(author="mara", stream="thumbs", version="v1", after=day[-1].sequence)
    return "readers" if named else "no alarm"


def _context(alarm: Alarm, watch: Watch, drawn: DrawnWorld, *, asked: bool) -> AlarmContext:
    assert watch.baseline is not None
    bounds = watch.baseline.bounds
    known = [one for one in drawn.votes if watch.after < one.sequence <= alarm.sequence]
    context = alarm_context(alarm, bounds, known)
    if not asked:
        return context
    first = since_the_drop([one for one in known if one.sequence >= alarm.since], bounds)[0]
    votes = (
        cells_of(one for one in known if day_of(one) < day_of(first)),
        cells_of(one for one in known if day_of(one) >= day_of(first)),
    )
    for anew in (False, True):  # stored scores first, then a control's with them
        judged = {
            name: drawn.judged(name, day_of(first), day_of(known[-1]), anew=anew)
            for name in drawn.scores
        }
        cause = cause_between(votes, judged, drawn.sensitivities, tolerance=TOLERANCE)
        if cause.name != "undecided":
            break
    return replace(context, fall_cause=cause)


def day_of(value: SettledValue) -> int:
    """The day of a value that has one."""
    assert value.day is not None
    return value.day


def controls(form: Form) -> list[Row]:
    """Changed readers and real falls, with a judge who decides alone and with two together."""
    streams = form.streams(40, quick=4)
    rows: list[Row] = []
    for judges, sampled in ((GENERAL, 10), (GENERAL, 40), (TOPIC_AND_VOICE, 10)):
        who = f"{' and '.join(one.name for one in judges)}, {sampled} answers a day"
        for number, world in enumerate((*CHANGED_READERS, *REAL_FALLS)):
            rng = np.random.default_rng([21, number, sampled, len(judges)])
            found = [drawn_world(rng, world, judges, sampled=sampled) for _ in range(streams)]
            asked: Counter[Outcome] = Counter(outcome(one, asked=True) for one in found)
            before: Counter[Outcome] = Counter(outcome(one, asked=False) for one in found)
            rows += _told(f"{world.name} ({who}, {streams} streams)", world, asked, before)
    return rows


def _told(name: str, world: World, asked: Counter[Outcome], before: Counter[Outcome]) -> list[Row]:
    streams = sum(asked.values())
    peers = {"trained without a control, %": 100.0 * before["trained"] / streams}
    trained, stopped = (100.0 * asked[one] / streams for one in ("trained", "readers"))
    if world.is_real:
        peers |= {"trained, %": trained}
        return [row(f"control: {name}: stopped", stopped, "%", at_most=5.0, peers=peers)]
    named = 100.0 * asked["readers"] / max(1, asked["readers"] + asked["trained"])
    return [
        row(f"control: {name}: trained", trained, "%", at_most=5.0, peers=peers),
        row(f"control: {name}: cause not named", 100.0 - named, "%", at_most=20.0),
    ]
