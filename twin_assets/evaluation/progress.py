"""Where a measurement stands: lines for whoever follows the run, and seconds by part.

Belongs here: progress lines, wall time. Does not belong here: what is measured.
"""
# pyright: strict

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

TOLD_EVERY_S = 3.0


class Progress:
    """Lines `progress {step, steps, eta_s, message}` for whoever follows the run.

    A step is a passage, an answer or a prompt: about a second each on two cores.

    Args:
        say: gets the lines.
        steps: how many there will be at most.
    """

    def __init__(self, say: Callable[[str], object], steps: int) -> None:
        self.say = say
        self._steps = steps
        self._done = 0
        self._started = self._told = time.monotonic()

    def of(self, message: str) -> Callable[[int], None]:
        """What to call with the number of steps that one part has made."""

        def advance(steps: int) -> None:
            self._done = min(self._done + steps, self._steps)
            now = time.monotonic()
            if now - self._told >= TOLD_EVERY_S:
                self._told = now
                left = (now - self._started) / self._done * (self._steps - self._done)
                report = {"step": self._done, "steps": self._steps, "message": message}
                self.say("progress " + json.dumps(report | {"eta_s": round(left)}))

        return advance


@dataclass
class Clock:
    """Wall seconds by part."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def part(self, name: str) -> Generator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 2)
