"""Estimate the remaining time, as a range, from the durations of the completed steps.

Scope: estimates for steps of one kind, and for several parts with different kinds of steps.
Out of scope: displaying the time (`commands/progress_display.py`), defining a step
(`evaluation/progress.py`, `training/train.py`).

A mean over all steps reported "1:09:37 left" four minutes before it reported "2:08", because the
first step of a training run compiles and warms up. The estimate therefore omits the first step and
uses recent steps. A rare pause (for a checkpoint or another process) counts only in part.

Five estimates of one number, on quiet cores and while the load fell, were off by .37 to 1.27: a
sequential test may end early, and nobody knows how long other processes keep the cores busy. What a
person reads is therefore a range (`estimate_range`).
"""
# pyright: strict

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

MIN_STEPS = 3  # number of steps before the first estimate
MIN_RECENT_STEPS = 12  # the estimate uses this number of steps, or half of all steps if more
# A step longer than this multiple of the median or the mean, whichever is longer, counts as this
# multiple. Requests that run together end together, so the median may be the time between two.
PAUSE_FACTOR = 3.0
SPREAD = 1.5  # of an estimate on cores that nothing else uses


def estimate_step_seconds(durations: Sequence[float]) -> float | None:
    """Return the expected duration of a step in seconds, or None after too few steps.

    Args:
        durations: seconds of each completed step, in order.
    """
    if len(durations) < MIN_STEPS:
        return None
    recent_durations = durations[1:][-max(MIN_RECENT_STEPS, (len(durations) - 1) // 2) :]
    pause_threshold_s = PAUSE_FACTOR * max(median(recent_durations), fmean(recent_durations))
    return fmean(min(duration, pause_threshold_s) for duration in recent_durations)


def estimate_range(remaining_s: float) -> tuple[int, int]:
    """Return the shortest and the longest remaining time in whole seconds for an estimate.

    The estimate rests on steps that shared the cores with all runnable processes. If the others
    end, the rest takes as much less as the load exceeds the number of cores.
    """
    crowding = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    return round(remaining_s / SPREAD / crowding), round(remaining_s * SPREAD)


@dataclass
class StepPart:
    """A part of the work with steps of one kind.

    Attributes:
        step_count: maximum number of steps.
        expected_s: expected seconds per step before any step is done; scaled by `_slowness`.
        durations: seconds of each completed step.
    """

    step_count: int
    expected_s: float
    durations: list[float] = field(default_factory=list[float])

    @property
    def remaining_count(self) -> int:
        return max(0, self.step_count - len(self.durations))


class RemainingTimeEstimator:
    """An estimator of the remaining seconds in several consecutive parts.

    The estimate for a part that has not started is scaled by the ratio of actual to expected time
    in the parts before it.
    """

    def __init__(self) -> None:
        self._parts: dict[str, StepPart] = {}

    def expect(self, name: str, step_count: int, *, step_s: float) -> None:
        """Announce a part, or correct its number of steps."""
        part = self._parts.get(name)
        if part is None:
            self._parts[name] = StepPart(step_count, step_s)
        else:
            part.step_count = max(step_count, len(part.durations))

    def record_steps(self, name: str, step_count: int, seconds: float) -> None:
        """Record that `step_count` steps of a part took `seconds` in total.

        Steps beyond the announced number are ignored. A part that was not announced gets
        `step_count` steps.
        """
        part = self._parts.setdefault(name, StepPart(step_count, seconds / step_count))
        for _ in range(min(step_count, part.remaining_count)):
            part.durations.append(seconds / step_count)

    @property
    def completed_count(self) -> int:
        """Number of completed steps of all parts."""
        return sum(len(part.durations) for part in self._parts.values())

    @property
    def total_count(self) -> int:
        """Number of announced steps of all parts."""
        return sum(part.step_count for part in self._parts.values())

    def estimate_seconds(self) -> float | None:
        """Return the remaining seconds, or None after too few steps."""
        if self.completed_count < MIN_STEPS and self.completed_count < self.total_count:
            return None
        slowness = self._slowness()
        total = 0.0
        for part in self._parts.values():
            step_seconds, expected_s = (
                estimate_step_seconds(part.durations),
                part.expected_s * slowness,
            )
            if step_seconds is None:
                step_seconds = expected_s
            # the first few steps may be one group of requests that ended together
            trust = min(1.0, len(part.durations) / MIN_RECENT_STEPS)
            total += part.remaining_count * (trust * step_seconds + (1.0 - trust) * expected_s)
        return total

    def _slowness(self) -> float:
        actual_s = sum(sum(part.durations) for part in self._parts.values())
        expected_s = sum(len(part.durations) * part.expected_s for part in self._parts.values())
        return actual_s / expected_s if expected_s > 0 else 1.0
