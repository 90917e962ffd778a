"""Estimate the remaining time from the durations of the steps so far.

Scope: the estimate from step times, for one kind of step and for parts of several kinds.
Out of scope: displaying it (`commands/clock.py`), defining a step (`evaluation/progress.py`,
`training/train.py`), forecasting a whole first run (`forecast.py`).
A plain mean over all steps reported "1:09:37 left" four minutes before it reported "2:08", because
the first step of a training run compiles and warms up. The first step is therefore left out, recent
steps count rather than early ones, and a single pause (a checkpoint, another process) is not
expected in every step.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

MIN_STEPS = 3  # no estimate before this, because the first step differs from the others
MIN_RECENT_STEPS = 12  # steps, or half of those done if that is more
PAUSE_FACTOR = 3.0  # a step longer than this many medians is a pause
MIN_PAUSES_COUNTED = 3  # from this number of pauses on, they count in the estimate


def estimate_step_seconds(durations: Sequence[float]) -> float | None:
    """Return the expected duration of a step in seconds, or None after too few steps.

    Args:
        durations: the seconds of each step so far, in order.
    """
    if len(durations) < MIN_STEPS:
        return None
    warm = durations[1:]
    recent = warm[-max(MIN_RECENT_STEPS, len(warm) // 2) :]
    pause_threshold_s = PAUSE_FACTOR * median(recent)
    pause_excess_s = [
        duration - pause_threshold_s for duration in warm if duration > pause_threshold_s
    ]
    mean_pause_s = (
        sum(pause_excess_s) / len(warm) if len(pause_excess_s) >= MIN_PAUSES_COUNTED else 0.0
    )
    return sum(min(duration, pause_threshold_s) for duration in recent) / len(recent) + mean_pause_s


@dataclass
class StepPart:
    """Steps of one kind.

    Attributes:
        steps: the maximum number of steps.
        expected_s: the expected seconds per step before any is done; corrected by `_slowness`.
        durations: the seconds of each completed step.
    """

    steps: int
    expected_s: float
    durations: list[float] = field(default_factory=list[float])

    @property
    def remaining_steps(self) -> int:
        return max(0, self.steps - len(self.durations))


class RemainingTimeEstimator:
    """Estimate the seconds left over several consecutive parts.
    The estimate of a part that has not begun is scaled by the ratio of actual to expected time in
    the parts before it.
    """

    def __init__(self) -> None:
        self._parts: dict[str, StepPart] = {}

    def expect(self, name: str, steps: int, *, each_s: float) -> None:
        """Announce a part, or correct its number of steps."""
        known = self._parts.get(name)
        if known is None:
            self._parts[name] = StepPart(steps, each_s)
        else:
            known.steps = max(steps, len(known.durations))

    def record_steps(self, name: str, steps: int, seconds: float) -> None:
        """Record that `steps` steps of a part took `seconds` together.
        Steps beyond the announced number are left out. A part that was not announced gets `steps`.
        """
        part = self._parts.setdefault(name, StepPart(steps, seconds / steps))
        for _ in range(min(steps, part.remaining_steps)):
            part.durations.append(seconds / steps)

    @property
    def done(self) -> int:
        return sum(len(part.durations) for part in self._parts.values())

    @property
    def steps(self) -> int:
        return sum(part.steps for part in self._parts.values())

    def estimate_seconds(self) -> float | None:
        """Return the seconds left, or None after too few steps."""
        if self.done < MIN_STEPS and self.done < self.steps:
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
        took = sum(sum(part.durations) for part in self._parts.values())
        expected = sum(len(part.durations) * part.expected_s for part in self._parts.values())
        return took / expected if expected > 0 else 1.0
