"""Simulate years in which no training helps, and the loop's trainings in them.

Scope: votes per day and their mean; a simulated year of a home with the production rules. Out of
scope: the rows of the table (`false_trainings.py`).

A day's votes are limited by `max_values_per_day` and tested with `compute_evidence`. An alarm leads
to a training at `next_alarm_training_at`, which improves nothing. Votes from before the alarm are
then dropped, as in `score_watch.ComparedDays`.
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
from twin_resources.statistics.retraining_limits import DAY_S, TrainingUsage, next_alarm_training_at
from twin_resources.statistics.vote_limits import max_values_per_day

Counts = NDArray[np.int64]
Means = NDArray[np.float64]
USUAL_MEAN, YEAR_DAYS = 0.8, 365
TRAINING_DAYS = 2  # from an alarm to the outcome of its training
DrawVotes = Callable[[np.random.Generator, int, int], tuple[Counts, Means]]


@dataclass(frozen=True)
class World:
    """A generator of votes and their means, both of shape homes × days."""

    name: str
    draw: DrawVotes
    has_goal: bool = True


def draw_unchanged(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
    return rng.poisson(rate, (homes, YEAR_DAYS)), np.full((homes, YEAR_DAYS), USUAL_MEAN)


def with_changed_means(change: Callable[[np.random.Generator, Means], Means]) -> DrawVotes:
    """Return a generator of the usual number of votes with changed means."""

    def draw(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
        counts, means = draw_unchanged(rng, homes, rate)
        return counts, means + change(rng, means)

    return draw


def with_noise(sd: float) -> DrawVotes:
    """Return a generator with independent deviations of each day's mean."""
    return with_changed_means(lambda rng, means: rng.normal(0, sd, means.shape))


def draw_autocorrelated(rng: np.random.Generator, means: Means) -> Means:
    """Return deviations of sd .05 that persist over days: AR(1) with coefficient .7."""
    deviations = np.zeros_like(means)
    for day in range(1, YEAR_DAYS):
        noise = rng.normal(0, 0.05 * 0.51**0.5, len(means))
        deviations[:, day] = 0.7 * deviations[:, day - 1] + noise
    return deviations


def lower_weekends(_: np.random.Generator, means: Means) -> Means:
    return np.broadcast_to(-0.08 * (np.arange(YEAR_DAYS) % 7 >= 5), means.shape)


def draw_season(rng: np.random.Generator, means: Means) -> Means:
    phase = rng.random((len(means), 1))
    return np.asarray(0.06 * np.sin(2 * np.pi * (np.arange(YEAR_DAYS) / 365 + phase)))


def with_lower_mean(difference: float, *, days: int = YEAR_DAYS) -> DrawVotes:
    """Return a generator with a lower mean for `days` days, starting on a random day."""

    def change(rng: np.random.Generator, means: Means) -> Means:
        return -difference * _random_period(rng, len(means), days)

    return with_changed_means(change)


def _random_period(rng: np.random.Generator, homes: int, days: int) -> NDArray[np.bool_]:
    first_day = rng.integers(30, 200, (homes, 1))
    day = np.arange(YEAR_DAYS)
    return (day >= first_day) & (day < first_day + days)


def with_crowd(size: int, mean: float, *, on_day: int | None = None) -> DrawVotes:
    """Return a generator that adds `size` votes of another mean on `on_day` or a random day."""

    def draw(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
        counts, means = draw_unchanged(rng, homes, rate)
        mask = (
            _random_period(rng, homes, 1)
            if on_day is None
            else np.broadcast_to(np.arange(YEAR_DAYS) == on_day, counts.shape)
        )
        mixed = (counts * means + size * mean) / np.maximum(counts + size, 1)
        return np.where(mask, counts + size, counts), np.where(mask, mixed, means)

    return draw


def with_more_votes(factor: int, days: int, difference: float) -> DrawVotes:
    """Return a generator with `factor` times the votes, and a lower mean, for `days` days."""

    def draw(rng: np.random.Generator, homes: int, rate: int) -> tuple[Counts, Means]:
        counts, means = draw_unchanged(rng, homes, rate)
        mask = _random_period(rng, homes, days)
        return np.where(mask, counts * factor, counts), np.where(mask, means - difference, means)

    return draw


WORLDS = (
    World("quiet", draw_unchanged),
    World("days of sd .05", with_noise(0.05)),
    World("days of sd .08", with_noise(0.08)),
    World("moods of days, sd .05", with_changed_means(draw_autocorrelated)),
    World("weekends .08 lower", with_changed_means(lower_weekends)),
    World("season of .06", with_changed_means(draw_season)),
    World("3,000 new readers of .65 on a day", with_crowd(3_000, 0.65)),
    World("3,000 new readers of .72 on a day", with_crowd(3_000, 0.72)),
    World("300 new readers of .65 on a day", with_crowd(300, 0.65)),
    World("3,000 of .92 on day 3", with_crowd(3_000, 0.92, on_day=3)),
    World("3,000 of .92 on day 10", with_crowd(3_000, 0.92, on_day=10)),
    World("votes x 2 for 40 days, .03 lower", with_more_votes(2, 40, 0.03)),
    World("readers x 10, .04 lower", with_more_votes(10, YEAR_DAYS, 0.04)),
    World("readers .05 lower for ever", with_lower_mean(0.05)),
    World("readers .10 lower for ever", with_lower_mean(0.10), has_goal=False),
    World("three days .15 lower", with_lower_mean(0.15, days=3)),
    World("three days .30 lower", with_lower_mean(0.30, days=3), has_goal=False),
)  # fmt: skip


@dataclass
class SimulatedYear:
    """The days of a home's year on which a training started, and those with an alarm."""

    training_days: list[int] = field(default_factory=list[int])
    alarm_days: list[int] = field(default_factory=list[int])


def generate_day_sums(counts: Counts, good_counts: Counts) -> Iterator[DaySum | None]:
    """Yield the settled sum of each of a home's days, or None for a day without a vote."""
    sizes: list[int] = []
    sequence = 0
    for day, (count, good) in enumerate(zip(counts.tolist(), good_counts.tolist(), strict=True)):
        max_votes = max_values_per_day(sizes[-28:])
        admitted = count if max_votes is None else min(count, max_votes)
        if not admitted:
            yield None
            continue
        sizes.append(admitted)
        value = good * admitted / count
        yield DaySum(day, "v1", "", admitted, value, value, sequence + 1, sequence + admitted)
        sequence += admitted


def simulate_year(
    counts: Counts, good_counts: Counts, *, only_first: bool = False
) -> SimulatedYear:
    """Simulate a year of one home in which no training helps.

    Args:
        only_first: stop at the first training.
    """
    year, sums, limit = SimulatedYear(), list[DaySum](), compute_threshold(armed_streams=1)
    usage, is_waiting = TrainingUsage(), False
    for day, day_sum in enumerate(generate_day_sums(counts, good_counts)):
        if day_sum is not None:
            sums.append(day_sum)
            if not is_waiting and thumbs_evidence(sums).likelihood_ratio >= limit:
                is_waiting = True
                year.alarm_days.append(day)
        if is_waiting and day * DAY_S >= next_alarm_training_at(usage):
            is_waiting = False
            year.training_days.append(day)
            usage = TrainingUsage(
                unreleased_trainings=usage.unreleased_trainings + 1,
                last_unreleased_at=(day + TRAINING_DAYS) * DAY_S,
            )
            sums = [day_sum for day_sum in sums if day_sum.day > year.alarm_days[-1]]
            if only_first:
                break
    return year


def thumbs_evidence(sums: list[DaySum]) -> StreamEvidence:
    return compute_evidence(sums, author="mara", stream="thumbs", version="v1")
