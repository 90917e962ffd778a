"""Worlds in which the weights do not change, a year each, and what the loop does in them.

Scope: votes a day and their mean, day by day; a home's life by the production rules; the
peer. Out of scope: single readers and keys (`keys.py`), the rows of the table
(`false_trainings.py`).

A day's votes pass `day_limit`, then `evidence_of`; an alarm trains when `next_alarm_training_at`
says so, in vain, and what was said until then is history, as `score_watch.ComparedDays` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twin_resources.statistics.detector import DaySum, StreamEvidence, compute_evidence, threshold
from twin_resources.statistics.poisoning import day_limit
from twin_resources.statistics.retraining_limits import DAY_S, TrainingUsage, next_alarm_training_at

Counts = NDArray[np.int64]
Means = NDArray[np.float64]
GOOD, YEAR, TAKES = 0.8, 365, 2  # days from an alarm to what its training came to
Draw = Callable[[np.random.Generator, int, int], tuple[Counts, Means]]


@dataclass(frozen=True)
class World:
    """Votes and means: homes × days. `attacked` and `moved` worlds have no goal of their own."""

    name: str
    draw: Draw
    has_goal: bool = True


def usual(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
    return rng.poisson(rate, (homes, YEAR)), np.full((homes, YEAR), GOOD)


def plus(change: Callable[[np.random.Generator, Means], Means]) -> Draw:
    """The usual votes, with other means."""

    def draw(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
        counts, means = usual(rng, homes, rate)
        return counts, means + change(rng, means)

    return draw


def moods(rng: np.random.Generator, means: Means) -> Means:
    """Days of sd .05 that go on for some: AR(1), .7."""
    found = np.zeros_like(means)
    for day in range(1, YEAR):
        found[:, day] = 0.7 * found[:, day - 1] + rng.normal(0, 0.05 * 0.51**0.5, len(means))
    return found


def weekends(_: np.random.Generator, means: Means) -> Means:
    return np.broadcast_to(-0.08 * (np.arange(YEAR) % 7 >= 5), means.shape)


def season(rng: np.random.Generator, means: Means) -> Means:
    phase = rng.random((len(means), 1))
    return np.asarray(0.06 * np.sin(2 * np.pi * (np.arange(YEAR) / 365 + phase)))


def lower(by: float, *, days: int = YEAR) -> Draw:
    """`by` lower from a random day on, for so many days."""

    def change(rng: np.random.Generator, means: Means) -> Means:
        return -by * _from(rng, len(means), days)

    return plus(change)


def _from(rng: np.random.Generator, homes: int, days: int) -> NDArray[np.bool_]:
    begin = rng.integers(30, 200, (homes, 1))
    day = np.arange(YEAR)
    return (day >= begin) & (day < begin + days)


def crowd(size: int, mean: float, *, at: int | None = None) -> Draw:
    """`size` new readers on one day, of another mean; `at`: which, else a random one."""

    def draw(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
        counts, means = usual(rng, homes, rate)
        on = _from(rng, homes, 1) if at is None else np.broadcast_to(np.arange(YEAR) == at,
                                                                     counts.shape)  # fmt: skip
        mixed = (counts * means + size * mean) / np.maximum(counts + size, 1)
        return np.where(on, counts + size, counts), np.where(on, mixed, means)

    return draw


def more_votes(times: int, days: int, by: float) -> Draw:
    """Times as many votes for so many days, of readers who are less content by `by`."""

    def draw(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
        counts, means = usual(rng, homes, rate)
        on = _from(rng, homes, days)
        return np.where(on, counts * times, counts), np.where(on, means - by, means)

    return draw


WORLDS = (
    World("quiet", usual),
    World("days of sd .05", plus(lambda rng, means: rng.normal(0, 0.05, means.shape))),
    World("days of sd .08", plus(lambda rng, means: rng.normal(0, 0.08, means.shape))),
    World("moods of days, sd .05", plus(moods)),
    World("weekends .08 lower", plus(weekends)),
    World("season of .06", plus(season)),
    World("3,000 new readers of .65 on a day", crowd(3_000, 0.65)),
    World("3,000 new readers of .72 on a day", crowd(3_000, 0.72)),
    World("300 new readers of .65 on a day", crowd(300, 0.65)),
    World("3,000 of .92 on day 3", crowd(3_000, 0.92, at=3)),
    World("3,000 of .92 on day 10", crowd(3_000, 0.92, at=10)),
    World("votes x 2 for 40 days, .03 lower", more_votes(2, 40, 0.03)),
    World("readers x 10, .04 lower", more_votes(10, YEAR, 0.04)),
    World("readers .05 lower for ever", lower(0.05)),
    World("readers .10 lower for ever", lower(0.10), has_goal=False),
    World("three days .15 lower", lower(0.15, days=3)),
    World("three days .30 lower", lower(0.30, days=3), has_goal=False),
)  # fmt: skip


@dataclass
class Life:
    """What became of a home: days on which a training began, days on which an alarm was raised."""

    trained: list[int] = field(default_factory=list[int])
    alarmed: list[int] = field(default_factory=list[int])


def day_sums(counts: Counts, goods: Counts) -> Iterator[DaySum | None]:
    """A home's days as they are settled; None: a day without a vote."""
    sizes: list[int] = []
    sequence = 0
    for day, (count, good) in enumerate(zip(counts.tolist(), goods.tolist(), strict=True)):
        most = day_limit(sizes[-28:])
        kept = count if most is None else min(count, most)
        if not kept:
            yield None
            continue
        sizes.append(kept)
        value = good * kept / count
        yield DaySum(day, "v1", "", kept, value, value, sequence + 1, sequence + kept)
        sequence += kept


def lived(counts: Counts, goods: Counts, *, only_first: bool = False) -> Life:
    """A year of one home in which no training helps.

    Args:
        only_first: until the first training.
    """
    life, sums, limit = Life(), list[DaySum](), threshold(armed_streams=1)
    usage, waiting = TrainingUsage(), False
    for day, of_day in enumerate(day_sums(counts, goods)):
        if of_day is not None:
            sums.append(of_day)
        if of_day is not None and not waiting and evidence(sums).e_value >= limit:
            waiting = True
            life.alarmed.append(day)
        if waiting and day * DAY_S >= next_alarm_training_at(usage):
            waiting = False
            life.trained.append(day)
            usage = TrainingUsage(
                unreleased_trainings=usage.unreleased_trainings + 1,
                last_unreleased_at=(day + TAKES) * DAY_S,
            )
            sums = [one for one in sums if one.day > life.alarmed[-1]]
            if only_first:
                break
    return life


def evidence(sums: list[DaySum]) -> StreamEvidence:
    return compute_evidence(sums, author="mara", stream="thumbs", version="v1")


def cusum(counts: Counts, goods: Counts, *, limit: float, drift: float = 0.05) -> int | None:
    """The peer: a CUSUM of day sums (Page, Biometrika 41, 1954), held to the mean of the first 14
    days and 100 values; the first day with an alarm.

    Args:
        limit: in votes; `drift`: half of the fall that it looks for.
    """
    seen, good, total = 0, 0.0, 0.0
    for day, (count, up) in enumerate(zip(counts.tolist(), goods.tolist(), strict=True)):
        if day < 14 or seen < 100:
            seen, good = seen + count, good + up
            continue
        total = max(0.0, total + count * (good / seen - drift) - up)
        if total >= limit:
            return day
    return None
