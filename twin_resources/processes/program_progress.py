"""Measure whether a program that is not yet ready still makes progress.

Scope: the CPU time and the log of one program, its idle time, and running a program for its output
as long as it makes progress.
Out of scope: readiness, reporting failed programs (`programs.py`).

On a busy machine, a start may take ten times as long and still succeed. Inactivity, not elapsed
time, therefore shows that a program has failed.
"""
# pyright: strict

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from twin_resources.errors import TwinError
from twin_resources.wait_limits import MAX_IDLE_S, MAX_WORKING_S

_MIN_CPU_S = 0.02  # CPU seconds per poll that count as progress; a process that waits uses less
POLL_INTERVAL_S = 1.0


class ProgramProgress:
    """The idle time of a program, and the time since the caller began to wait for it."""

    def __init__(self) -> None:
        self._started_at = self._last_progress_at = time.monotonic()
        self._cpu_s: float = 0.0
        self._log_bytes: int = 0
        self._pid: int = -1

    def measure_idle_s(self, pid: int, log: Path | None = None) -> float:
        """Record the CPU time and the log size; return the seconds since either last grew.

        Args:
            pid: pid of the program's leader, or 0 if it is not running.
            log: path of the program's log, or None.
        """
        now, cpu_s = time.monotonic(), measure_cpu_s(pid)
        log_bytes = _log_size(log) if log else 0
        has_progressed = cpu_s >= self._cpu_s + _MIN_CPU_S or log_bytes != self._log_bytes
        if pid != self._pid or has_progressed:
            self._cpu_s, self._log_bytes = cpu_s, log_bytes
            self._pid, self._last_progress_at = pid, now
        return now - self._last_progress_at

    def find_stop_reason(
        self, pid: int, log: Path | None = None, *, max_idle_s: float | None = None
    ) -> str:
        """Return the reason to stop waiting, or "" while the program works; call at every poll.

        Args:
            pid, log: see `measure_idle_s`.
            max_idle_s: maximum idle time in seconds, or None for `MAX_IDLE_S`.
        """
        idle_s = self.measure_idle_s(pid, log)
        waited_s = time.monotonic() - self._started_at
        if idle_s > (MAX_IDLE_S if max_idle_s is None else max_idle_s):
            return f"not done after {waited_s:.0f} s, the last {idle_s:.0f} of them idle"
        return f"not done after {waited_s:.0f} s" if waited_s > MAX_WORKING_S else ""


def run_for_output(
    command: Sequence[str],
    *,
    input_bytes: bytes = b"",
    environment: Mapping[str, str] | None = None,
    max_cpu_s: float = MAX_WORKING_S,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end as long as it makes progress, whatever its exit status.

    Args:
        input_bytes: standard input of the program.
        max_cpu_s: maximum CPU time in seconds.

    Raises:
        TwinError: the program was killed because it was idle, used too much CPU time, or was not
            done within an hour.
        OSError: the program cannot be started.
    """
    progress = ProgramProgress()
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        # After a timeout, `communicate` sends no more input through a pipe (Python 3.11).
        stdin = stack.enter_context(tempfile.TemporaryFile())
        stdin.write(input_bytes)
        stdin.seek(0)
        process = stack.enter_context(
            subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, env=environment)
        )
        while True:
            try:
                output, errors = process.communicate(timeout=POLL_INTERVAL_S)
            except subprocess.TimeoutExpired:
                failure = progress.find_stop_reason(process.pid)
                if measure_cpu_s(process.pid) > max_cpu_s:
                    failure = f"not done after {max_cpu_s:g} s of processor time"
            except BaseException:
                process.kill()
                raise
            else:
                return subprocess.CompletedProcess(command, process.returncode, output, errors)
            if failure:
                process.kill()
                raise TwinError(
                    f"run {command[0]}",
                    found=failure,
                    next_step="run it manually to find the cause",
                )


def measure_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its running descendants; 0 if it is not running."""
    try:
        leader = psutil.Process(pid) if pid else None
        processes = [leader, *leader.children(recursive=True)] if leader else []
    except psutil.Error:
        return 0.0
    total = 0.0
    for process in processes:
        try:
            total += sum(process.cpu_times()[:2])
        except psutil.Error:
            continue  # the process has ended in the meantime
    return total


def _log_size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0
