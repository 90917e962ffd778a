"""Streams of settled values with a known truth, by family; every family is in control for ever.

A family gives values (streams × length) in [0, 1] and classes (same shape, small integers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_resources.statistics.values import SettledValue

Values = NDArray[np.float64]
Classes = NDArray[np.int64]
Drawn = tuple[Values, Classes]

GOOD = 0.8
READER_SPREAD = 0.12  # standard deviation of readers' own levels
CLASS_MEANS = np.array([0.95, 0.85, 0.75, 0.60])


@dataclass(frozen=True)
class Family:
    """`judged` families are of a judge, the others of thumbs."""

    name: str
    draw: Callable[[np.random.Generator, int, int], Drawn]
    has_goal: bool = True


def thumbs(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    return (rng.random((streams, length)) < GOOD).astype(float), one_class(streams, length)


def beta_judge(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    return rng.beta(8.0, 2.0, (streams, length)), one_class(streams, length)


def rubric(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    """Five levels, mean .79."""
    levels = rng.choice(5, size=(streams, length), p=[0.02, 0.05, 0.13, 0.35, 0.45])
    return levels / 4.0, one_class(streams, length)


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
    return (rng.random((streams, length)) < CLASS_MEANS[classes]).astype(float), classes


def bursts(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    """Bursts of 1 to 20 thumbs by a reader with a level of their own, a new reader each burst; one
    burst, closed with its day, is one settled value."""
    levels = np.clip(rng.normal(GOOD, READER_SPREAD, (streams, length)), 0.0, 1.0)
    sizes = rng.integers(1, 21, (streams, length))
    return rng.binomial(sizes, levels) / sizes, one_class(streams, length)


def returning(rng: np.random.Generator, streams: int, length: int) -> Drawn:
    """Twenty readers who return; the next reader-day is of the same reader with probability .5.

    The values are not in control given the past, in the strict sense: who comes next has a level.
    """
    levels = np.clip(rng.normal(GOOD, READER_SPREAD, (streams, 20)), 0.0, 1.0)
    everyone = np.arange(streams)
    current = rng.integers(0, 20, streams)
    values = np.empty((streams, length))
    for moment in range(length):
        fresh = rng.integers(0, 20, streams)
        current = np.where(rng.random(streams) < 0.5, current, fresh)
        sizes = rng.integers(1, 21, streams)
        values[:, moment] = rng.binomial(sizes, levels[everyone, current]) / sizes
    return values, one_class(streams, length)


def one_class(streams: int, length: int) -> Classes:
    return np.zeros((streams, length), dtype=np.int64)


def settled(
    values: Values, classes: Classes, *, stream: str = "thumbs", version: str = "v1"
) -> list[SettledValue]:
    """One stream as the ledger would hand it over."""
    return [
        SettledValue(number, "mara", stream, version, f"class {kind}", value)
        for number, (value, kind) in enumerate(
            zip(values.tolist(), classes.tolist(), strict=True), start=1
        )
    ]


FAMILIES = (
    Family("thumbs .80", thumbs),
    Family("judge, Beta(8, 2)", beta_judge),
    Family("five-level rubric", rubric),
    Family("class mix, sticky and drifting", class_mix),
    Family("bursts of 1-20, new readers", bursts),
    Family("bursts, 20 returning readers", returning, has_goal=False),
)
