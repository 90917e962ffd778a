"""Where a measurement stands: lines for whoever follows the run, and seconds by part.

Belongs here: progress lines, wall time, what a step of each part takes about.
Does not belong here: what is measured, the estimate as such (`twin_resources/time_left.py`).
"""
# pyright: strict

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from twin_resources.time_left import TimeLeft

TOLD_EVERY_S = 3.0

# Seconds a step of SmolLM2-135M on two cores with bf16 where nothing else runs: what counts is how
# they compare, since the parts that were made correct those that are to come.
READ_S, ANSWER_S, AGAIN_S, REFERENCE_S = 0.3, 0.9, 0.3, 1.0


class Progress:
    """Lines `progress {step, steps, eta_s, message}` for whoever follows the run.

    A step is a passage, an answer or a prompt. Parts are told apart by their message: each has
    steps of its own length, and one that was announced (`expect`) counts before it begins.

    Args:
        say: gets the lines.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self.say = say
        self._left = TimeLeft()
        self._told = self._stepped = time.monotonic()
        self._lock = threading.Lock()  # candidate and base answer side by side

    def expect(self, message: str, steps: int, *, each_s: float) -> None:
        """Announce a part, or say that it will have so many steps after all."""
        with self._lock:
            self._left.expect(message, steps, each_s=each_s)

    def of(self, message: str) -> Callable[[int], None]:
        """What to call with the number of steps that one announced part has made."""

        def advance(steps: int) -> None:
            with self._lock:
                now = time.monotonic()
                self._left.made(message, steps, now - self._stepped)
                self._stepped = now
                if now - self._told < TOLD_EVERY_S:
                    return
                self._told = now
                report: dict[str, Any] = {"step": self._left.done, "steps": self._left.steps}
                left = self._left.seconds()
                report |= {"message": message} | ({} if left is None else {"eta_s": round(left)})
            self.say("progress " + json.dumps(report))

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
