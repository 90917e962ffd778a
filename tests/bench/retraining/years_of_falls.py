"""Rows: two years of one author, 30 thumbs a day in four classes, whose quality falls now and then.

Scope: the world (jumps and slopes; a training mends what fell before it), the loop and its
peers in it, what is lost by each. Out of scope: worlds without a fall (`worlds.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.rows import Form, Row, row
from tests.bench.retraining.worlds import TAKES
from twin_resources.statistics.detector import DaySum, compute_evidence, threshold

CLASS_MEANS = np.array([0.95, 0.85, 0.75, 0.60])
DAYS, PER_DAY = 730, 30
EVERY = 78.0  # days between two falls, on average
SLOPE_DAYS = 45  # in which a gradual fall has come
CUSUM_LIMIT, CUSUM_DRIFT = 20.0, 0.05

Losses = NDArray[np.float64]


@dataclass(frozen=True)
class FallEvent:
    """From `day` on, by `size`, at once or over `SLOPE_DAYS`; `classes`: 1 for each that falls."""

    day: int
    size: float
    gradual: bool
    classes: Losses

    def lost(self, day: int) -> Losses:
        """What each class has lost by it on a day."""
        share = (day - self.day + 1) / SLOPE_DAYS if self.gradual else 1.0
        return self.classes * (self.size * min(1.0, share) if day >= self.day else 0.0)


def falls(rng: np.random.Generator) -> list[FallEvent]:
    """Half gradual, half of one class, by .1 to .4 (of one class .2 to .6)."""
    found: list[FallEvent] = []
    day = 30 + rng.exponential(EVERY)
    while day < DAYS:
        one = rng.random() < 0.5
        size = rng.uniform(0.2, 0.6) if one else rng.uniform(0.1, 0.4)
        classes = np.eye(4)[rng.integers(4)] if one else np.ones(4)
        found.append(FallEvent(int(day), float(size), bool(rng.random() < 0.5), classes))
        day += rng.exponential(EVERY)
    return found


@dataclass
class Loop:
    """The days of all its versions, as `score_watch` compares them."""

    version: int = 1
    sums: list[DaySum] = field(default_factory=list[DaySum])

    def __call__(self, day: int, counts: Losses, goods: Losses) -> bool:
        for kind in np.flatnonzero(counts):
            count, good = int(counts[kind]), float(goods[kind])
            number = 1 + (self.sums[-1].last if self.sums else 0)
            self.sums.append(DaySum(day, f"v{self.version}", f"class {kind}", count, good, good,
                                    number, number + count - 1))  # fmt: skip
        found = compute_evidence(
            self.sums, author="mara", stream="thumbs", version=f"v{self.version}"
        )
        if found.e_value < threshold(armed_streams=1):
            return False
        # what the fallen version said since is no standard for the next one
        self.sums = [one for one in self.sums if one.first < found.since]
        return True

    def released(self) -> None:
        self.version += 1


@dataclass
class Cusum:
    """A CUSUM of day sums, held to the mean of a version's first 14 days and 100 values."""

    days: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    total: float = 0.0

    def __call__(self, day: int, counts: Losses, goods: Losses) -> bool:
        count, good = float(counts.sum()), float(goods.sum())
        if len(self.days) < 14 or sum(one for one, _ in self.days) < 100:
            self.days.append((count, good))
            return False
        mean = sum(one for _, one in self.days) / sum(one for one, _ in self.days)
        self.total = max(0.0, self.total + count * (mean - CUSUM_DRIFT) - good)
        return self.total >= CUSUM_LIMIT

    def released(self) -> None:
        self.days, self.total = [], 0.0


def lived(events: Sequence[FallEvent], way: Loop | Cusum, rng: np.random.Generator) -> Losses:
    """Mean of what is lost, and trainings: one makes good what had been lost when it began."""
    mended = np.zeros((len(events), 4))
    arrives, learnt = 0, mended
    losses, trained = 0.0, 0
    for day in range(DAYS):
        lost = np.array([event.lost(day) for event in events]).reshape(-1, 4)
        if arrives and day >= arrives:
            mended, arrives = learnt, 0
            way.released()
        now = (lost - mended).sum(axis=0).clip(0.0, CLASS_MEANS)
        losses += float(now.mean())
        counts = rng.multinomial(PER_DAY, [0.25] * 4)
        goods = rng.binomial(counts, CLASS_MEANS - now)
        if not arrives and way(day, counts, goods):
            trained += 1
            arrives, learnt = day + TAKES, lost
    return np.array([losses / DAYS, trained])


def years_of_falls(form: Form) -> list[Row]:
    """Mean loss and trainings of a home in two years, beside a CUSUM."""
    homes = form.streams(40, quick=2)
    ways: dict[str, Callable[[], Loop | Cusum]] = {"the loop": Loop, "CUSUM": Cusum}
    means: dict[str, Losses] = {}
    for name, way in ways.items():
        lives: list[Losses] = []
        for home in range(homes):
            rng = np.random.default_rng([form.seed, 6, home])
            lives.append(lived(falls(rng), way(), rng))
        means[name] = np.mean(lives, axis=0)
    rows: list[Row] = []
    for place, (what, unit, goal) in enumerate(
        (("mean loss", "of 1", 0.026), ("trainings", "a home", 10.0))
    ):
        name = f"two years, jumps and slopes ({homes} homes): {what}"
        mine, peer = (round(float(means[way][place]), 4) for way in ways)
        rows.append(row(name, mine, unit, at_most=goal, peers={"CUSUM": peer}))
    return rows
