"""Log the progress of a long step of a run.

Scope: the lines and their interval. Out of scope: estimating the remaining time (`time_left.py`),
reading the lines (`dagster_runs.py`), displaying them (`commands/progress_display.py`).
"""
# pyright: strict

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from twin_resources.processes.time_left import RemainingTimeEstimator, estimate_range

LOG_INTERVAL_S = 3.0


class ProgressLines:
    """A logger of lines `progress {step, steps, eta_s: [low, high], message}` in a run.

    A step is a passage, an answer or a prompt. The message identifies a part of the work. Each part
    has its own step duration, and an announced part (`expect`) counts before it starts.

    Args:
        log: function that receives the lines.
    """

    def __init__(self, log: Callable[[str], object]) -> None:
        self.write_line = log
        self._time_left = RemainingTimeEstimator()
        self._logged_at = self._last_step_at = time.monotonic()
        self._lock = threading.Lock()  # the candidate and the base model answer in parallel

    def expect(self, message: str, step_count: int, *, step_s: float) -> None:
        """Announce a part, or correct its number of steps."""
        with self._lock:
            self._time_left.expect(message, step_count, step_s=step_s)

    def make_step_recorder(self, message: str) -> Callable[[int], None]:
        """Return a function that records a number of steps of one announced part."""

        def advance(step_count: int) -> None:
            with self._lock:
                now = time.monotonic()
                self._time_left.record_steps(message, step_count, now - self._last_step_at)
                self._last_step_at = now
                if now - self._logged_at < LOG_INTERVAL_S:
                    return
                self._logged_at = now
                report: dict[str, Any] = {
                    "step": self._time_left.completed_count,
                    "steps": self._time_left.total_count,
                }
                remaining_s = self._time_left.estimate_seconds()
                report |= {"message": message} | (
                    {} if remaining_s is None else {"eta_s": estimate_range(remaining_s)}
                )
            self.write_line("progress " + json.dumps(report))

        return advance


class SyncProgressLogger:
    """A logger of the progress of `Tables.sync`, which processes its inputs in batches.

    A step is an input of the whole update, so that the estimate does not restart with each batch.

    Args:
        log: function that receives the lines.
        message: description of the work.
    """

    def __init__(self, log: Callable[[str], object], message: str) -> None:
        self._lines, self._message = ProgressLines(log), message
        self._batch, self._completed_input_count = range(0), 0

    def begin_batch(self, batch: range, input_count: int) -> None:
        """Start a batch, given the indices of its inputs and the number of all inputs."""
        self._batch = batch
        self._lines.expect(self._message, input_count, step_s=1.0)

    def advance(self, done: int, total: int) -> None:
        """Record that `done` of the batch's `total` parts are done; the parts are about equal."""
        count = self._batch.start + len(self._batch) * done // total
        if count > self._completed_input_count:
            self._lines.make_step_recorder(self._message)(count - self._completed_input_count)
            self._completed_input_count = count


def log_stages(log: Callable[[str], object]) -> Callable[[str, int, int], None]:
    """Return a function that logs how far a step's stages are.

    It takes a stage, the number of its items that are done, and the number of all of them (0 if
    nobody knows it, which logs nothing).

    Args:
        log: function that receives the lines.
    """
    loggers: dict[str, SyncProgressLogger] = {}

    def report(stage: str, done: int, total: int) -> None:
        if total:
            logger = loggers.setdefault(stage, SyncProgressLogger(log, stage))
            logger.begin_batch(range(total), total)
            logger.advance(done, total)

    return report
