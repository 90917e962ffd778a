"""Whether a program that is not ready yet still does something.

Belongs here: CPU time and log of one program, and how long neither has grown. Does not belong here:
readiness, and what is told of a program that failed (`programs.py`).

A loaded machine makes a start ten times as long and no less sound: seconds decide nothing, what a
program does in them does.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_LEAST_CPU_S = 0.02
"""Of a process that only waits, psutil counts less in a poll."""


@dataclass
class ProgramProgress:
    """How long a program has done nothing.

    Attributes:
        clock: seconds, monotonic.
    """

    clock: Callable[[], float] = time.monotonic
    _cpu_s: float = 0.0
    _log_bytes: int = 0
    _pid: int = 0
    _since: float = field(default=-1.0)

    def idle_s(self, pid: int, log: Path) -> float:
        """Seconds since its CPU time or its log last grew, or it was started.

        Args:
            pid: of its leader; 0: none runs.
        """
        now, cpu_s, log_bytes = self.clock(), cpu_seconds(pid), _size(log)
        works = cpu_s >= self._cpu_s + _LEAST_CPU_S or log_bytes != self._log_bytes
        if self._since < 0 or pid != self._pid or works:
            self._cpu_s, self._log_bytes, self._pid, self._since = cpu_s, log_bytes, pid, now
        return now - self._since


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and its descendants that run; 0 of one that does not."""
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
            continue  # it has ended meanwhile
    return total


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0
