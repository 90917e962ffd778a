"""Estimate the remaining time from the durations of the completed steps.

Scope: estimates for steps of one kind, and for several parts with different kinds of steps.
Out of scope: displaying the time (`commands/progress_display.py`), defining a step
(`evaluation/progress.py`, `training/train.py`), forecasting a whole first run (`forecast.py`).

A mean over all steps reported "1:09:37 left" four minutes before it reported "2:08", because the
first step of a training run compiles and warms up. The estimate therefore omits the first step and
uses recent steps. It shortens a pause (a checkpoint, another process), which few steps have.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

MIN_STEPS = 3  # number of steps before the first estimate
MIN_RECENT_STEPS = 12  # the estimate uses this number of steps, or half of all steps if more
PAUSE_FACTOR = 3.0  # a longer step counts as this multiple of the median


def estimate_step_seconds(durations: Sequence[float]) -> float | None:
    """Return the expected duration of a step in seconds, or None after too few steps.

    Args:
        durations: seconds of each completed step, in order.
    """
    if len(durations) < MIN_STEPS:
        return None
    recent_durations = durations[1:][-max(MIN_RECENT_STEPS, (len(durations) - 1) // 2) :]
    pause_threshold_s = PAUSE_FACTOR * median(recent_durations)
    return fmean(min(duration, pause_threshold_s) for duration in recent_durations)


@dataclass
class StepPart:
    """A part of the work with steps of one kind.

    Attributes:
        steps: maximum number of steps.
        expected_s: expected seconds per step before any step is done; scaled by `_slowness`.
        durations: seconds of each completed step.
    """

    steps: int
    expected_s: float
    durations: list[float] = field(default_factory=list[float])

    @property
    def remaining_steps(self) -> int:
        return max(0, self.steps - len(self.durations))


class RemainingTimeEstimator:
    """An estimator of the remaining seconds in several consecutive parts.

    The estimate for a part that has not started is scaled by the ratio of actual to expected time
    in the parts before it.
    """

    def __init__(self) -> None:
        self._parts: dict[str, StepPart] = {}

    def expect(self, name: str, steps: int, *, each_s: float) -> None:
        """Announce a part, or correct its number of steps."""
        part = self._parts.get(name)
        if part is None:
            self._parts[name] = StepPart(steps, each_s)
        else:
            part.steps = max(steps, len(part.durations))

    def record_steps(self, name: str, steps: int, seconds: float) -> None:
        """Record that `steps` steps of a part took `seconds` in total.

        Steps beyond the announced number are ignored. A part that was not announced gets `steps`
        steps.
        """
        part = self._parts.setdefault(name, StepPart(steps, seconds / steps))
        for _ in range(min(steps, part.remaining_steps)):
            part.durations.append(seconds / steps)

    @property
    def completed_steps(self) -> int:
        """Number of completed steps of all parts."""
        return sum(len(part.durations) for part in self._parts.values())

    @property
    def total_steps(self) -> int:
        """Number of announced steps of all parts."""
        return sum(part.steps for part in self._parts.values())

    def estimate_seconds(self) -> float | None:
        """Return the remaining seconds, or None after too few steps."""
        if self.completed_steps < MIN_STEPS and self.completed_steps < self.total_steps:
            return None
        slowness = self._slowness()
        total = 0.0
        for part in self._parts.values():
            step_seconds = estimate_step_seconds(part.durations)
            total += part.remaining_steps * (
                part.expected_s * slowness if step_seconds is None else step_seconds
            )
        return total

    def _slowness(self) -> float:
        actual_s = sum(sum(part.durations) for part in self._parts.values())
        expected_s = sum(len(part.durations) * part.expected_s for part in self._parts.values())
        return actual_s / expected_s if expected_s > 0 else 1.0
