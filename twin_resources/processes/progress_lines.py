"""Lines by which a long step of a run says how far it is, for whoever follows its log.

Scope: the lines and how often they come. Out of scope: the estimate of the time left
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


class SyncProgressLines:
    """Lines of a rework (`Tables.sync`), which computes its inputs some at a time.

    A step is an input of the whole rework, so that the time left does not begin again with each
    batch.

    Args:
        log: gets the lines.
        message: what is done.
    """

    def __init__(self, log: Callable[[str], object], message: str) -> None:
        self._lines, self._message = ProgressLines(log), message
        self._batch, self._done = range(0), 0

    def begin(self, batch: range, of: int) -> None:
        """A batch begins: the places of its inputs among all that are computed."""
        self._batch = batch
        self._lines.expect(self._message, of, each_s=1.0)

    def advance(self, done: int, total: int) -> None:
        """So many parts of the batch are done, of about the same length each."""
        at = self._batch.start + len(self._batch) * done // total
        if at > self._done:
            self._lines.of(self._message)(at - self._done)
            self._done = at
