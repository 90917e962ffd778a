"""Simulated years in which the weights do not change, and the trainings of the loop in them.

Scope: votes per day and their mean; a simulated year of a home with the production rules; the peer.
Out of scope: the rows of the table (`false_trainings.py`).

A day's votes pass `max_values_per_day`, then `compute_evidence`. An alarm leads to a training at
`next_alarm_training_at`, which improves nothing. Votes before the alarm are then dropped, as in
`score_watch.ComparedDays`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from twin_resources.statistics.detector import (
    DaySum,
    StreamEvidence,
    compute_evidence,
    compute_threshold,
)
from twin_resources.statistics.poisoning import max_values_per_day
from twin_resources.statistics.retraining_limits import DAY_S, TrainingUsage, next_alarm_training_at

Counts = NDArray[np.int64]
Means = NDArray[np.float64]
GOOD, YEAR = 0.8, 365
TRAINING_DAYS = 2  # from an alarm to the outcome of its training
Draw = Callable[[np.random.Generator, int, int], tuple[Counts, Means]]


@dataclass(frozen=True)
class World:
    """A generator of votes and their means, both of shape homes × days."""

    name: str
    draw: Draw
    has_goal: bool = True


def draw_unchanged(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
    return rng.poisson(rate, (homes, YEAR)), np.full((homes, YEAR), GOOD)


def with_means(change: Callable[[np.random.Generator, Means], Means]) -> Draw:
    """Return a generator with the unchanged number of votes and changed means."""

    def draw(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
        counts, means = draw_unchanged(rng, homes, rate)
        return counts, means + change(rng, means)

    return draw


def moods(rng: np.random.Generator, means: Means) -> Means:
    """Return deviations of sd .05 that persist over days: AR(1) with coefficient .7."""
    deviations = np.zeros_like(means)
    for day in range(1, YEAR):
        noise = rng.normal(0, 0.05 * 0.51**0.5, len(means))
        deviations[:, day] = 0.7 * deviations[:, day - 1] + noise
    return deviations


def weekends(_: np.random.Generator, means: Means) -> Means:
    return np.broadcast_to(-0.08 * (np.arange(YEAR) % 7 >= 5), means.shape)


def season(rng: np.random.Generator, means: Means) -> Means:
    phase = rng.random((len(means), 1))
    return np.asarray(0.06 * np.sin(2 * np.pi * (np.arange(YEAR) / 365 + phase)))


def lower_mean(by: float, *, days: int = YEAR) -> Draw:
    """Lower the mean by `by` for `days` days, starting on a random day."""

    def change(rng: np.random.Generator, means: Means) -> Means:
        return -by * _random_period(rng, len(means), days)

    return with_means(change)


def _random_period(rng: np.random.Generator, homes: int, days: int) -> NDArray[np.bool_]:
    first_day = rng.integers(30, 200, (homes, 1))
    day = np.arange(YEAR)
    return (day >= first_day) & (day < first_day + days)


def add_crowd(size: int, mean: float, *, at: int | None = None) -> Draw:
    """Add `size` votes with another mean on one day: day `at`, or a random day."""

    def draw(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
        counts, means = draw_unchanged(rng, homes, rate)
        mask = (
            _random_period(rng, homes, 1)
            if at is None
            else np.broadcast_to(np.arange(YEAR) == at, counts.shape)
        )
        mixed = (counts * means + size * mean) / np.maximum(counts + size, 1)
        return np.where(mask, counts + size, counts), np.where(mask, mixed, means)

    return draw


def more_votes(times: int, days: int, by: float) -> Draw:
    """Multiply the votes by `times` for `days` days, and lower their mean by `by`."""

    def draw(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
        counts, means = draw_unchanged(rng, homes, rate)
        mask = _random_period(rng, homes, days)
        return np.where(mask, counts * times, counts), np.where(mask, means - by, means)

    return draw


WORLDS = (
    World("quiet", draw_unchanged),
    World("days of sd .05", with_means(lambda rng, means: rng.normal(0, 0.05, means.shape))),
    World("days of sd .08", with_means(lambda rng, means: rng.normal(0, 0.08, means.shape))),
    World("moods of days, sd .05", with_means(moods)),
    World("weekends .08 lower", with_means(weekends)),
    World("season of .06", with_means(season)),
    World("3,000 new readers of .65 on a day", add_crowd(3_000, 0.65)),
    World("3,000 new readers of .72 on a day", add_crowd(3_000, 0.72)),
    World("300 new readers of .65 on a day", add_crowd(300, 0.65)),
    World("3,000 of .92 on day 3", add_crowd(3_000, 0.92, at=3)),
    World("3,000 of .92 on day 10", add_crowd(3_000, 0.92, at=10)),
    World("votes x 2 for 40 days, .03 lower", more_votes(2, 40, 0.03)),
    World("readers x 10, .04 lower", more_votes(10, YEAR, 0.04)),
    World("readers .05 lower for ever", lower_mean(0.05)),
    World("readers .10 lower for ever", lower_mean(0.10), has_goal=False),
    World("three days .15 lower", lower_mean(0.15, days=3)),
    World("three days .30 lower", lower_mean(0.30, days=3), has_goal=False),
)  # fmt: skip


@dataclass
class SimulatedYear:
    """The days of a home's year on which a training began, and those with an alarm."""

    trained: list[int] = field(default_factory=list[int])
    alarmed: list[int] = field(default_factory=list[int])


def generate_day_sums(counts: Counts, goods: Counts) -> Iterator[DaySum | None]:
    """Yield the settled sum of each of a home's days, or None for a day without a vote."""
    sizes: list[int] = []
    sequence = 0
    for day, (count, good) in enumerate(zip(counts.tolist(), goods.tolist(), strict=True)):
        max_votes = max_values_per_day(sizes[-28:])
        admitted = count if max_votes is None else min(count, max_votes)
        if not admitted:
            yield None
            continue
        sizes.append(admitted)
        value = good * admitted / count
        yield DaySum(day, "v1", "", admitted, value, value, sequence + 1, sequence + admitted)
        sequence += admitted


def simulate_year(counts: Counts, goods: Counts, *, only_first: bool = False) -> SimulatedYear:
    """Simulate a year of one home in which no training helps.

    Args:
        only_first: stop at the first training.
    """
    year, sums, limit = SimulatedYear(), list[DaySum](), compute_threshold(armed_streams=1)
    usage, is_waiting = TrainingUsage(), False
    for day, day_sum in enumerate(generate_day_sums(counts, goods)):
        if day_sum is not None:
            sums.append(day_sum)
        if day_sum is not None and not is_waiting and evidence(sums).e_value >= limit:
            is_waiting = True
            year.alarmed.append(day)
        if is_waiting and day * DAY_S >= next_alarm_training_at(usage):
            is_waiting = False
            year.trained.append(day)
            usage = TrainingUsage(
                unreleased_trainings=usage.unreleased_trainings + 1,
                last_unreleased_at=(day + TRAINING_DAYS) * DAY_S,
            )
            sums = [day_sum for day_sum in sums if day_sum.day > year.alarmed[-1]]
            if only_first:
                break
    return year


def evidence(sums: list[DaySum]) -> StreamEvidence:
    return compute_evidence(sums, author="mara", stream="thumbs", version="v1")
