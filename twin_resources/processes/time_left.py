"""How long something still takes, from how long its steps have taken.

Scope: the estimate from step times, for one kind of step and for parts of several kinds.
Out of scope: showing it (`commands/clock.py`), what a step is (`evaluation/progress.py`,
`training/train.py`), what a whole first run takes before it begins (`forecast.py`).

The time so far divided by the steps so far told "1:09:37 left" four minutes before it told "2:08":
the first step of a training compiles and warms up, and stays in that mean for ever. So the first
step counts only while it is alone, what came lately counts rather than what came first, and a
single pause (a checkpoint, another process) is not taken for what every step will take.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

MIN_STEPS = 3  # before this nothing is said: the first of them is no sample of the others
RECENT = 12  # steps at least; more of them once half of what was done is more
PAUSE = 3.0  # a step of so many medians is a pause
OFTEN = 3  # pauses: from here on they are how it goes


def seconds_each(durations: Sequence[float]) -> float | None:
    """What one more step is expected to take, in seconds; None: too few steps to say.

    Args:
        durations: seconds of each step so far, in order.
    """
    if len(durations) < MIN_STEPS:
        return None
    warm = durations[1:]
    recent = warm[-max(RECENT, len(warm) // 2) :]
    most = PAUSE * median(recent)
    paused = [one - most for one in warm if one > most]
    often = sum(paused) / len(warm) if len(paused) >= OFTEN else 0.0
    return sum(min(one, most) for one in recent) / len(recent) + often


@dataclass
class Part:
    """Steps of one kind.

    Attributes:
        steps: how many there will be at most.
        expected_s: of each, before one was made; on a machine that `slowness` corrects.
        durations: of those made, in seconds.
    """

    steps: int
    expected_s: float
    durations: list[float] = field(default_factory=list[float])

    @property
    def left(self) -> int:
        return max(0, self.steps - len(self.durations))


class TimeLeft:
    """Seconds left over several parts, which follow each other.

    A part that has not begun is expected to be as much slower or faster than it was expected to be
    as those before it were.
    """

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}

    def expect(self, name: str, steps: int, *, each_s: float) -> None:
        """Announce a part, or say how many steps it will have after all."""
        known = self._parts.get(name)
        if known is None:
            self._parts[name] = Part(steps, each_s)
        else:
            known.steps = max(steps, len(known.durations))

    def made(self, name: str, steps: int, seconds: float) -> None:
        """`steps` steps of a part took `seconds` together; more than announced are left out, and
        a part that nobody announced has as many as were made."""
        part = self._parts.setdefault(name, Part(steps, seconds / steps))
        for _ in range(min(steps, part.left)):
            part.durations.append(seconds / steps)

    @property
    def done(self) -> int:
        return sum(len(part.durations) for part in self._parts.values())

    @property
    def steps(self) -> int:
        return sum(part.steps for part in self._parts.values())

    def seconds(self) -> float | None:
        """None: too few steps were made to say."""
        if self.done < MIN_STEPS and self.done < self.steps:
            return None
        slowness = self._slowness()
        total = 0.0
        for part in self._parts.values():
            each = seconds_each(part.durations)
            total += part.left * (part.expected_s * slowness if each is None else each)
        return total

    def _slowness(self) -> float:
        took = sum(sum(part.durations) for part in self._parts.values())
        expected = sum(len(part.durations) * part.expected_s for part in self._parts.values())
        return took / expected if expected > 0 else 1.0
