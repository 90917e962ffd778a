"""Streams of settled values with a known truth, by family; every family is in control for ever:
the model is as good at the end as it was when it was certified.

A family gives values (streams × length) in [0, 1], classes, days and readers (same shape, small
integers). Readers vote `PER_DAY` times a day unless a family says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from twin_resources.statistics.values import SettledValue

Values = NDArray[np.float64]
Classes = NDArray[np.int64]

GOOD = 0.8
PER_DAY = 30
JUDGED = 40  # answers a day that a judge scores
READER_SPREAD = 0.12  # standard deviation of readers' own levels
CLASS_MEANS = np.array([0.95, 0.85, 0.75, 0.60])


@dataclass(frozen=True)
class Drawn:
    """Streams × length each."""

    values: Values
    classes: Classes
    days: Classes
    readers: Classes


@dataclass(frozen=True)
class Family:
    """`has_goal`: at most 5 % of its streams may alarm within 5,000 values."""

    name: str
    draw: Callable[[np.random.Generator, int, int], Drawn]
    has_goal: bool = True


def drawn(
    values: Values,
    *,
    per_day: int = PER_DAY,
    classes: Classes | None = None,
    readers: Classes | None = None,
    days: Classes | None = None,
) -> Drawn:
    """With what a family does not say itself: one class, so many a day, a new reader each."""
    length = values.shape[1]
    of_length = np.broadcast_to(np.arange(length), values.shape)
    return Drawn(
        values,
        np.zeros(values.shape, dtype=np.int64) if classes is None else classes,
        of_length // per_day if days is None else days,
        of_length if readers is None else readers,
    )


def votes(rng: np.random.Generator, quality: Values) -> Values:
    """Thumbs of these means."""
    return (rng.random(quality.shape) < np.clip(quality, 0.0, 1.0)).astype(float)


def by_day(levels: Values, days: Classes) -> Values:
    """Each day's level (streams × days) at each value."""
    return np.take_along_axis(levels, days % levels.shape[1], axis=1)


def thumbs(rng: np.random.Generator, streams: int, length: int, *, per_day: int = PER_DAY) -> Drawn:
    return drawn(votes(rng, np.full((streams, length), GOOD)), per_day=per_day)


def nearly_all_good(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    return drawn(votes(rng, np.full((streams, length), 0.99)))


def beta_judge(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    return drawn(rng.beta(8.0, 2.0, (streams, length)), per_day=JUDGED)


def rubric(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    """Five levels, mean .79."""
    levels = rng.choice(5, size=(streams, length), p=[0.02, 0.05, 0.13, 0.35, 0.45])
    return drawn(levels / 4.0, per_day=JUDGED)


def class_mix(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    """Thumbs in four classes of means .95 to .60; the next request is of the same class with
    probability .9, and over the stream requests move from easy classes to hard ones."""
    easy, hard = np.array([0.35, 0.30, 0.20, 0.15]), np.array([0.15, 0.20, 0.30, 0.35])
    classes = np.empty((streams, length), dtype=np.int64)
    current = np.zeros(streams, dtype=np.int64)
    for moment in range(length):
        mix = np.cumsum(easy + (hard - easy) * moment / (length - 1))
        fresh = np.minimum(np.searchsorted(mix, rng.random(streams)), 3)
        current = np.where((rng.random(streams) < 0.9) & (moment > 0), current, fresh)
        classes[:, moment] = current
    return drawn(votes(rng, CLASS_MEANS[classes]), classes=classes)


def rare_class(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    """Two classes of .95 and one of .4 that is 2 % of the requests, and later 30 %."""
    share = np.where(np.arange(length) < 1_000, 0.02, 0.30)
    classes = np.where(rng.random((streams, length)) < share, 2, rng.integers(0, 2, (streams, 1)))
    return drawn(votes(rng, np.array([0.95, 0.95, 0.4])[classes]), classes=classes)


def bursts(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    """Bursts of 1 to 20 thumbs by a reader with a level of their own, a new reader each burst; one
    burst, closed with its day, is one settled value."""
    levels = np.clip(rng.normal(GOOD, READER_SPREAD, (streams, length)), 0.0, 1.0)
    sizes = rng.integers(1, 21, (streams, length))
    return drawn(rng.binomial(sizes, levels) / sizes)


def regular_readers(
    rng: np.random.Generator, streams: int, length: int, *, of: int, stay: float = np.inf
) -> Drawn:
    """`of` readers who vote once each day and stay `stay` days on average; each has a level."""
    count = -(-length // of)
    levels = np.empty((streams, count, of))
    names = np.empty((streams, count, of), dtype=np.int64)
    level = rng.normal(GOOD, READER_SPREAD, (streams, of))
    name = np.tile(np.arange(of), (streams, 1))
    for day in range(count):
        leaves = rng.random((streams, of)) < 1.0 / stay
        level = np.where(leaves, rng.normal(GOOD, READER_SPREAD, (streams, of)), level)
        name = np.where(leaves, name + of, name)
        order = rng.permuted(np.tile(np.arange(of), (streams, 1)), axis=1)
        levels[:, day] = np.take_along_axis(level, order, axis=1)
        names[:, day] = np.take_along_axis(name, order, axis=1)
    flat = levels.reshape(streams, -1)[:, :length]
    return drawn(votes(rng, flat), per_day=of, readers=names.reshape(streams, -1)[:, :length])


def day_levels(
    rng: np.random.Generator, streams: int, length: int, *, spread: float, per_day: int
) -> Drawn:
    """Each day its own level."""
    levels = rng.normal(GOOD, spread, (streams, length // per_day + 1))
    found = thumbs(rng, streams, length, per_day=per_day)
    return drawn(votes(rng, by_day(levels, found.days)), per_day=per_day)


def moods(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    """The next vote's mood is like that of this one: AR(1), .9, standard deviation .12."""
    mood = np.empty((streams, length))
    mood[:, 0] = rng.normal(0.0, 0.12, streams)
    for moment in range(1, length):
        mood[:, moment] = 0.9 * mood[:, moment - 1] + rng.normal(0, 0.12 * 0.19**0.5, streams)
    return drawn(votes(rng, GOOD + mood))


def weekends(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    """.08 lower on two days of seven."""
    days = np.broadcast_to(np.arange(length) // PER_DAY, (streams, length))
    return drawn(votes(rng, GOOD - 0.08 * (days % 7 >= 5)))


def season(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    """Half a year up and down by .03, from any day of it on."""
    days = np.arange(length) / PER_DAY
    phase = rng.random((streams, 1)) * 2.0 * np.pi
    return drawn(votes(rng, GOOD + 0.03 * np.sin(2.0 * np.pi * days / 182.0 + phase)))


def moody_judge(rng: np.random.Generator, streams: int, length: int, *, spread: float) -> Drawn:
    """A judge whose scores of a day share a level; the first 500 are of one day."""
    days = np.maximum(0, np.arange(length) - 500 + JUDGED) // JUDGED
    days = np.broadcast_to(days, (streams, length))
    levels = rng.normal(0.0, spread, (streams, int(days.max()) + 1))
    values = rng.beta(8.0, 2.0, (streams, length)) + by_day(levels, days)
    return drawn(np.clip(values, 0.0, 1.0), days=days)


FAMILIES = (
    Family("thumbs .80", thumbs),
    Family("thumbs .99", nearly_all_good),
    Family("one thumb a day", partial(thumbs, per_day=1)),
    Family("judge, Beta(8, 2)", beta_judge),
    Family("five-level rubric", rubric),
    Family("class mix, sticky and drifting", class_mix),
    Family("rare class, 2 % becomes 30 %", rare_class),
    Family("bursts of 1-20, new readers", bursts),
    Family("20 regular readers", partial(regular_readers, of=20)),
    Family("20 readers who stay 60 days", partial(regular_readers, of=20, stay=60.0)),
    Family("50 readers who stay 60 days", partial(regular_readers, of=50, stay=60.0)),
    Family("days differ by .05", partial(day_levels, spread=0.05, per_day=30)),
    Family("days differ by .08", partial(day_levels, spread=0.08, per_day=30)),
    Family("200 a day, days differ by .05", partial(day_levels, spread=0.05, per_day=200)),
    Family("moods within a day", moods),
    Family("weekends .08 lower", weekends),
    Family("season of .03", season),
    Family("judge certified on a day, .02", partial(moody_judge, spread=0.02)),
    Family("judge certified on a day, .05", partial(moody_judge, spread=0.05)),
)


def settled(
    found: Drawn, index: int, *, stream: str = "thumbs", version: str = "v1"
) -> list[SettledValue]:
    """One stream as the ledger would hand it over."""
    columns = (found.values[index], found.classes[index], found.days[index], found.readers[index])
    return [
        SettledValue(number, "mara", stream, version, f"class {kind}", value, day, f"r{reader}")
        for number, (value, kind, day, reader) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), start=1
        )
    ]
