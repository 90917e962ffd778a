"""Rows: readers' alarms with certified judges beside them; who is named, what is trained.

Belongs here: worlds in which answers, readers or both change, and what the loop makes of them.
Does not belong here: the decision (`statistics/fall_estimates.py`), worlds without a judge
(`families.py`).

An answer is good or bad. Readers vote on 30 a day; a judge scores the first 500, at 100 a day, then
`SAMPLED` a day, and a tenth of its scores is missing. It scores bad answers lower by its D, of
which only the bound is known that `certify` gives for 80 planted pairs. A stream is certified on
its first values, changes at value 1,000, and ends at 5,000 or with the first training.
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
from twin_resources.statistics.blocks import days_of
from twin_resources.statistics.detector import Alarm, threshold
from twin_resources.statistics.diagnosis import since_the_drop
from twin_resources.statistics.fall_estimates import TwoTimes, cause_between
from twin_resources.statistics.judges import certify
from twin_resources.statistics.retraining import READERS_CHANGED, AlarmContext, decide
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Watch, advance, start

LENGTH, CHANGES_AT, FIRST_JUDGED, ANSWERS = 5_000, 1_000, 500, 100
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
        judged: judge → scores in the order of judging. `sensitivities`: judge → D.
    """

    votes: list[SettledValue]
    judged: Mapping[str, list[SettledValue]]
    sensitivities: Mapping[str, float]


def drawn_world(
    rng: np.random.Generator, world: World, judges: Sequence[MadeJudge], *, sampled: int
) -> DrawnWorld:
    """Votes and scores of one author in this world."""
    number = np.arange(LENGTH)
    changed = number >= CHANGES_AT
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
    first_days = FIRST_JUDGED // ANSWERS
    days = np.concatenate(
        [
            np.repeat(np.arange(first_days), ANSWERS),
            np.repeat(np.arange(first_days, LENGTH // PER_DAY + 1), sampled),
        ]
    )
    days = days[rng.random(len(days)) >= MISSING]
    share = GOOD_SHARE - world.worse * (days >= CHANGES_AT // PER_DAY)
    judged_good = rng.random(len(days)) < share
    judged = {
        one.name: [
            SettledValue(index + 1, "mara", f"judge:{one.name}", "v1", "all", score, int(day))
            for index, (score, day) in enumerate(
                zip(one.scores(rng, judged_good).tolist(), days, strict=True)
            )
        ]
        for one in judges
    }
    return DrawnWorld(votes, judged, {one.name: one.certified(rng) for one in judges})


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
    judged = {
        name: _around([one for one in scores if _day(one) <= _day(known[-1])], first)
        for name, scores in drawn.judged.items()
    }
    votes = _around(known, first)
    cause = cause_between(votes, judged, drawn.sensitivities, tolerance=TOLERANCE)
    return replace(context, fall_cause=cause)


def _around(values: Sequence[SettledValue], first: SettledValue) -> TwoTimes:
    since = [one for one in values if _day(one) >= _day(first)]
    return [one for one in values if _day(one) < _day(first)], since


def _day(value: SettledValue) -> int:
    assert value.day is not None
    return value.day


def controls(form: Form) -> list[Row]:
    """Changed readers and real falls, with a judge who decides alone and with two together."""
    streams = form.streams(100, quick=5)
    rows: list[Row] = []
    for judges, sampled in ((GENERAL, 10), (GENERAL, 40), (TOPIC_AND_VOICE, 10)):
        who = f"{' and '.join(one.name for one in judges)}, {sampled} answers a day"
        for number, world in enumerate((*CHANGED_READERS, *REAL_FALLS)):
            rng = np.random.default_rng([21, number, sampled, len(judges)])
            found = [drawn_world(rng, world, judges, sampled=sampled) for _ in range(streams)]
            asked = Counter(outcome(one, asked=True) for one in found)
            before = Counter(outcome(one, asked=False) for one in found)
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
