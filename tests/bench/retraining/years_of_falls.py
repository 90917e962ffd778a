"""Rows: two years of one author, 30 thumbs a day in four classes, with occasional falls in quality.

Scope: the simulation (sudden and gradual falls; a training repairs the falls before it), the loop
and its peer in it, the loss of each. Out of scope: worlds without a fall (`worlds.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.rows import Form
from tests.bench.retraining.worlds import TRAINING_DAYS
from tests.bench.rows import Row, bounded_row
from twin_resources.statistics.detector import DaySum, compute_evidence, compute_threshold

CLASS_MEANS = np.array([0.95, 0.85, 0.75, 0.60])
DAYS, PER_DAY = 730, 30
MEAN_DAYS_BETWEEN_FALLS = 78.0
SLOPE_DAYS = 45  # duration of a gradual fall
CUSUM_LIMIT, CUSUM_DRIFT = 20.0, 0.05

Losses = NDArray[np.float64]


@dataclass(frozen=True)
class FallEvent:
    """A fall by `size` that starts on `day`, at once or over `SLOPE_DAYS`, in classes with a 1."""

    day: int
    size: float
    gradual: bool
    classes: Losses

    def compute_losses(self, day: int) -> Losses:
        """Return each class's loss through this fall on a day."""
        share = (day - self.day + 1) / SLOPE_DAYS if self.gradual else 1.0
        return self.classes * (self.size * min(1.0, share) if day >= self.day else 0.0)


def draw_falls(rng: np.random.Generator) -> list[FallEvent]:
    """Draw falls. Half are gradual. Half affect one class by .2 to .6, others all by .1 to .4."""
    events: list[FallEvent] = []
    day = 30 + rng.exponential(MEAN_DAYS_BETWEEN_FALLS)
    while day < DAYS:
        is_one_class = rng.random() < 0.5
        size = rng.uniform(0.2, 0.6) if is_one_class else rng.uniform(0.1, 0.4)
        classes = np.eye(4)[rng.integers(4)] if is_one_class else np.ones(4)
        events.append(FallEvent(int(day), float(size), bool(rng.random() < 0.5), classes))
        day += rng.exponential(MEAN_DAYS_BETWEEN_FALLS)
    return events


@dataclass
class Loop:
    """The loop's detector on the days of all versions, as in `score_watch`."""

    version: int = 1
    sums: list[DaySum] = field(default_factory=list[DaySum])

    def __call__(self, day: int, counts: Losses, goods: Losses) -> bool:
        for kind in np.flatnonzero(counts):
            count, good = int(counts[kind]), float(goods[kind])
            number = 1 + (self.sums[-1].last if self.sums else 0)
            self.sums.append(DaySum(day, f"v{self.version}", f"class {kind}", count, good, good,
                                    number, number + count - 1))  # fmt: skip
        evidence = compute_evidence(
            self.sums, author="mara", stream="thumbs", version=f"v{self.version}"
        )
        if evidence.e_value < compute_threshold(armed_streams=1):
            return False
        # The worse version's days since the change set no standard for the next version.
        self.sums = [day_sum for day_sum in self.sums if day_sum.first < evidence.since]
        return True

    def release_version(self) -> None:
        self.version += 1


@dataclass
class Cusum:
    """A CUSUM of day sums against the mean of a version's first 14 days and 100 values."""

    days: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    total: float = 0.0

    def __call__(self, day: int, counts: Losses, goods: Losses) -> bool:
        count, good = float(counts.sum()), float(goods.sum())
        votes = sum(day_count for day_count, _ in self.days)
        if len(self.days) < 14 or votes < 100:
            self.days.append((count, good))
            return False
        mean = sum(day_good for _, day_good in self.days) / votes
        self.total = max(0.0, self.total + count * (mean - CUSUM_DRIFT) - good)
        return self.total >= CUSUM_LIMIT

    def release_version(self) -> None:
        self.days, self.total = [], 0.0


def simulate(
    events: Sequence[FallEvent], detector: Loop | Cusum, rng: np.random.Generator
) -> Losses:
    """Return the mean loss and the number of trainings.

    A training repairs the losses that existed when it began.
    """
    repaired = np.zeros((len(events), 4))
    release_day, repaired_by_training = 0, repaired
    losses, trainings = 0.0, 0
    for day in range(DAYS):
        compute_losses = np.array([event.compute_losses(day) for event in events]).reshape(-1, 4)
        if release_day and day >= release_day:
            repaired, release_day = repaired_by_training, 0
            detector.release_version()
        loss = (compute_losses - repaired).sum(axis=0).clip(0.0, CLASS_MEANS)
        losses += float(loss.mean())
        counts = rng.multinomial(PER_DAY, [0.25] * 4)
        goods = rng.binomial(counts, CLASS_MEANS - loss)
        if not release_day and detector(day, counts, goods):
            trainings += 1
            release_day, repaired_by_training = day + TRAINING_DAYS, compute_losses
    return np.array([losses / DAYS, trainings])


def years_of_falls(form: Form) -> list[Row]:
    """Return a home's mean loss and trainings in two years, compared with a CUSUM."""
    homes = form.count_homes(40, quick=2)
    detectors: dict[str, Callable[[], Loop | Cusum]] = {"the loop": Loop, "CUSUM": Cusum}
    means: dict[str, Losses] = {}
    for name, create_detector in detectors.items():
        results: list[Losses] = []
        for home in range(homes):
            rng = np.random.default_rng([form.seed, 6, home])
            results.append(simulate(draw_falls(rng), create_detector(), rng))
        means[name] = np.mean(results, axis=0)
    rows: list[Row] = []
    for column, (figure, unit, goal) in enumerate(
        (("mean loss", "of 1", 0.026), ("trainings", "a home", 10.0))
    ):
        name = f"two years, jumps and slopes ({homes} homes): {figure}"
        ours, peer = (float(means[detector][column]) for detector in detectors)
        rows.append(bounded_row(name, ours, unit, at_most=goal, peers={"CUSUM": peer}))
    return rows
