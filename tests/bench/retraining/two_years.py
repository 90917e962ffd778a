"""Rows: two years of one author, 30 thumbs a day in four classes, whose quality falls now and then.

Belongs here: the world (jumps and slopes, a training mends what fell before it), four ways to
answer it (the loop, every month, two oracles), what is lost by each. Does not belong here: the
detector (`statistics/`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.families import CLASS_MEANS, PER_DAY
from tests.bench.retraining.rows import Form, Row, row
from tests.bench.retraining.streams import decided
from twin_resources.statistics.baseline import Baseline, floor_of
from twin_resources.statistics.detector import threshold
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Watch, advance, start

DAYS = 730
EVERY = 78.0  # days between two falls, on average
SLOPE_DAYS = 45  # in which a gradual fall has come
TAKES = 2  # days from an alarm to the version that was trained on it
SMALL = 0.1  # a day that is worse by more is counted


@dataclass(frozen=True)
class FallEvent:
    """One fall: from `day` on, by `size`, at once or over `SLOPE_DAYS`; None: of all classes."""

    day: int
    size: float
    gradual: bool
    of_class: int | None

    def lost(self, day: int) -> NDArray[np.float64]:
        """What each class has lost by it on a day."""
        share = (day - self.day + 1) / SLOPE_DAYS if self.gradual else 1.0
        size = self.size * min(1.0, share) if day >= self.day else 0.0
        every = np.full(len(CLASS_MEANS), size)
        return every if self.of_class is None else every * (np.arange(4) == self.of_class)


def falls(seed: int) -> list[FallEvent]:
    """Those of two years: half gradual, half of one class, by .1 to .4 (of one class .2 to .6)."""
    draw = np.random.default_rng([2, seed])
    found: list[FallEvent] = []
    day = 30 + draw.exponential(EVERY)
    while day < DAYS:
        one = draw.random() < 0.5
        size = draw.uniform(0.2, 0.6) if one else draw.uniform(0.1, 0.4)
        of_class = int(draw.integers(4)) if one else None
        found.append(FallEvent(int(day), float(size), bool(draw.random() < 0.5), of_class))
        day += draw.exponential(EVERY)
    return found


@dataclass
class Life:
    """What became of the two years under one way to answer.

    Attributes:
        lost: a day, the mean over the classes of what is worse than at the beginning.
        trained: days on which a training began.
    """

    lost: list[float] = field(default_factory=list[float])
    trained: list[int] = field(default_factory=list[int])

    @property
    def bad_days(self) -> int:
        return sum(one > SMALL for one in self.lost)


Answers = Callable[[int, NDArray[np.float64]], bool]
"""(day, what each class has lost) → whether a training begins."""


def lived(events: Sequence[FallEvent], answers: Answers) -> Life:
    """Two years: a training makes good what had been lost when it began, `TAKES` days later."""
    life = Life()
    mended = np.zeros((len(events), len(CLASS_MEANS)))
    coming: tuple[int, NDArray[np.float64]] | None = None
    for day in range(DAYS):
        lost = np.array([event.lost(day) for event in events])
        if coming is not None and day >= coming[0]:
            mended, coming = coming[1], None
        now = (lost - mended).sum(axis=0).clip(0.0, CLASS_MEANS) if events else np.zeros(4)
        life.lost.append(float(now.mean()))
        if answers(day, now) and coming is None:
            life.trained.append(day)
            coming = (day + TAKES, lost)
    return life


def oracle(day: int, lost: NDArray[np.float64], *, at: float) -> bool:
    """Knows what was lost, and trains as soon as it is more than `at`."""
    return bool(lost.mean() > at)


def monthly(day: int, lost: NDArray[np.float64]) -> bool:
    return day % 30 == 29


class Loop:
    """The loop: a version's values through `watch.advance` and `decide`, a tick a day."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng([3, seed])
        self.ledger: list[SettledValue] = []
        self.certified: list[Baseline] = []
        self.number = 0
        self.version = 0
        self.arrives = 0
        self.watch: Watch
        self._released()

    def _released(self) -> None:
        if self.version and self.watch.baseline is not None:
            self.certified.append(self.watch.baseline)
        self.version += 1
        self.ledger = []
        self.watch = start(
            author="mara",
            stream="thumbs",
            version=f"v{self.version}",
            floor=floor_of(self.certified),
        )

    def __call__(self, day: int, lost: NDArray[np.float64]) -> bool:
        if self.arrives and day >= self.arrives:
            self.arrives = 0
            self._released()
        of_day = self._votes(day, lost)
        self.ledger += of_day
        before = self.watch
        self.watch, alarm = advance(
            self.watch, of_day, first=self.ledger, threshold=threshold(armed_streams=1)
        )
        if alarm is None or self.arrives:
            return False
        if decided(alarm, before, self.ledger).decision.kind != "train":
            return False
        self.arrives = day + TAKES
        return True

    def _votes(self, day: int, lost: NDArray[np.float64]) -> list[SettledValue]:
        kinds = self.draw.integers(0, len(CLASS_MEANS), PER_DAY)
        good = self.draw.random(PER_DAY) < (CLASS_MEANS - lost)[kinds]
        found: list[SettledValue] = []
        for kind, one in zip(kinds.tolist(), good.tolist(), strict=True):
            self.number += 1
            found.append(
                SettledValue(
                    self.number, "mara", "thumbs", f"v{self.version}", f"class {kind}",
                    float(one), day, f"r{self.number}",
                )
            )  # fmt: skip
        return found


def two_years(form: Form) -> list[Row]:
    """Mean loss, trainings and bad days of a home, beside a training every month and an oracle."""
    homes = form.streams(40, quick=2)
    ways: dict[str, Callable[[int], Answers]] = {
        "the loop": Loop,
        "every month": lambda _: monthly,
        # In a slope it trains again and again; the second has as many trainings as the goal allows.
        "oracle at .03": lambda _: partial(oracle, at=0.03),
        "oracle at .1": lambda _: partial(oracle, at=0.1),
    }
    lives = {
        name: [lived(falls(seed), way(seed)) for seed in range(homes)] for name, way in ways.items()
    }
    figures = {
        "mean loss": (lambda life: float(np.mean(life.lost)), "of 1", 0.022),
        "trainings": (lambda life: float(len(life.trained)), "a home", 10.0),
        f"days lost by more than {SMALL:g}": (lambda life: float(life.bad_days), "a home", 35.0),
    }
    rows: list[Row] = []
    for name, (figure, unit, goal) in figures.items():
        means = {
            way: float(np.mean([figure(one) for one in found])) for way, found in lives.items()
        }
        mine = means.pop("the loop")
        what = f"two years, jumps and slopes ({homes} homes): {name}"
        rows.append(row(what, mine, unit, at_most=goal, peers=means))
    return rows
