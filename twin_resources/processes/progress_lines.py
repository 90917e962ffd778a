"""Lines by which a long step of a run says how far it is, for whoever follows its log.

Belongs here: the lines and how often they come. Does not belong here: the estimate of the time left
(`time_left.py`), reading the lines (`dagster_runs.py`), showing them (`commands/clock.py`).
"""
# pyright: strict

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from twin_resources.processes.time_left import TimeLeft

TOLD_EVERY_S = 3.0


class ProgressLines:
    """Lines `progress {step, steps, eta_s, message}` for whoever follows the run.

    A step is a passage, an answer or a prompt. Parts are told apart by their message: each has
    steps of its own length, and one that was announced (`expect`) counts before it begins.

    Args:
        say: gets the lines.
    """

    def __init__(self, log: Callable[[str], object]) -> None:
        self.say = log
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


def of_batches(log: Callable[[str], object], message: str) -> Callable[[int, int], None]:
    """What to call with (batches done, batches in all), batches being of about the same length.

    Called for another set of batches it begins anew.
    """
    progress, before = ProgressLines(log), 0

    def report(done: int, total: int) -> None:
        nonlocal progress, before
        if done <= before:
            progress, before = ProgressLines(log), 0
        progress.expect(message, total, each_s=1.0)
        progress.of(message)(done - before)
        before = done

    return report
