"""Simulate two years of one author with 30 thumbs per day in four classes and occasional drops.

Scope: the simulation (sudden and gradual drops in quality; a training repairs the drops before it),
the loop and its peer in it, the loss of each. Out of scope: worlds without a drop (`worlds.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.loop_size import LoopBenchmarkSize
from tests.bench.retraining.worlds import TRAINING_DAYS
from tests.bench.rows import Row, bounded_row
from twin_resources.statistics.detector import DaySum, compute_evidence, compute_threshold

CLASS_MEANS = np.array([0.95, 0.85, 0.75, 0.60])
DAYS, VOTES_PER_DAY = 730, 30
MEAN_DAYS_BETWEEN_DROPS = 78.0
SLOPE_DAYS = 45  # duration of a gradual drop
CUSUM_LIMIT, CUSUM_DRIFT = 20.0, 0.05

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class QualityDrop:
    """A drop by `size` from `day` on, sudden or over `SLOPE_DAYS`, in the classes marked with 1."""

    day: int
    size: float
    is_gradual: bool
    classes: Floats

    def compute_losses(self, day: int) -> Floats:
        """Return each class's loss of quality through this drop on a day."""
        share = (day - self.day + 1) / SLOPE_DAYS if self.is_gradual else 1.0
        return self.classes * (self.size * min(1.0, share) if day >= self.day else 0.0)


def draw_drops(rng: np.random.Generator) -> list[QualityDrop]:
    """Draw drops: half are gradual; half lower one class by .2 to .6, others all by .1 to .4."""
    drops: list[QualityDrop] = []
    day = 30 + rng.exponential(MEAN_DAYS_BETWEEN_DROPS)
    while day < DAYS:
        is_one_class = rng.random() < 0.5
        size = rng.uniform(0.2, 0.6) if is_one_class else rng.uniform(0.1, 0.4)
        classes = np.eye(4)[rng.integers(4)] if is_one_class else np.ones(4)
        drops.append(QualityDrop(int(day), float(size), bool(rng.random() < 0.5), classes))
        day += rng.exponential(MEAN_DAYS_BETWEEN_DROPS)
    return drops


@dataclass
class LoopDetector:
    """The loop's detector, which sees the days of all versions, as in `score_watch`."""

    version: int = 1
    sums: list[DaySum] = field(default_factory=list[DaySum])

    def __call__(self, day: int, counts: Floats, good_counts: Floats) -> bool:
        for index in np.flatnonzero(counts):
            count, good = int(counts[index]), float(good_counts[index])
            first = 1 + (self.sums[-1].last if self.sums else 0)
            self.sums.append(DaySum(day, f"v{self.version}", f"class {index}", count, good, good,
                                    first, first + count - 1))  # fmt: skip
        evidence = compute_evidence(
            self.sums, author="mara", stream="thumbs", version=f"v{self.version}"
        )
        if evidence.likelihood_ratio < compute_threshold(armed_streams=1):
            return False
        # The worse version's days since the change set no standard for the next version.
        self.sums = [day_sum for day_sum in self.sums if day_sum.first < evidence.since]
        return True

    def release_version(self) -> None:
        self.version += 1


@dataclass
class CusumDetector:
    """A CUSUM of day sums against the mean of a version's first 14 days and 100 votes."""

    days: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    total: float = 0.0

    def __call__(self, day: int, counts: Floats, good_counts: Floats) -> bool:
        count, good = float(counts.sum()), float(good_counts.sum())
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
    drops: Sequence[QualityDrop], detector: LoopDetector | CusumDetector, rng: np.random.Generator
) -> Floats:
    """Simulate the two years; return the mean loss and the number of trainings.

    A training repairs the losses that existed when it started.
    """
    repaired = np.zeros((len(drops), 4))
    release_day, repaired_by_training = 0, repaired
    total_loss, training_count = 0.0, 0
    for day in range(DAYS):
        losses = np.array([drop.compute_losses(day) for drop in drops]).reshape(-1, 4)
        if release_day and day >= release_day:
            repaired, release_day = repaired_by_training, 0
            detector.release_version()
        loss = (losses - repaired).sum(axis=0).clip(0.0, CLASS_MEANS)
        total_loss += float(loss.mean())
        counts = rng.multinomial(VOTES_PER_DAY, [0.25] * 4)
        good_counts = rng.binomial(counts, CLASS_MEANS - loss)
        if not release_day and detector(day, counts, good_counts):
            training_count += 1
            release_day, repaired_by_training = day + TRAINING_DAYS, losses
    return np.array([total_loss / DAYS, training_count])


def years_of_drops_rows(size: LoopBenchmarkSize) -> list[Row]:
    """Return rows for a home's mean loss and trainings in two years, compared with a CUSUM."""
    homes = size.choose_home_count(40, quick=2)
    detectors: dict[str, Callable[[], LoopDetector | CusumDetector]] = {
        "the loop": LoopDetector,
        "CUSUM": CusumDetector,
    }
    means: dict[str, Floats] = {}
    for name, create_detector in detectors.items():
        results: list[Floats] = []
        for home in range(homes):
            rng = np.random.default_rng([size.seed, 6, home])
            results.append(simulate(draw_drops(rng), create_detector(), rng))
        means[name] = np.mean(results, axis=0)
    rows: list[Row] = []
    for column, (figure, unit, goal) in enumerate(
        (("mean loss", "of 1", 0.026), ("trainings", "a home", 10.0))
    ):
        name = f"two years, jumps and slopes ({homes} homes): {figure}"
        ours, peer = (float(means[detector][column]) for detector in detectors)
        rows.append(bounded_row(name, ours, unit, at_most=goal, peers={"CUSUM": peer}))
    return rows
