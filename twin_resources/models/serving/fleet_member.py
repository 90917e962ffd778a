"""Manage the states of one fleet server: loading, ready, failed, draining, ended.

Scope: one server process, checked step by step without blocking.
Out of scope: choosing the servers (`fleet.py`), the process (`model_server.py`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from twin_resources.errors import TwinError
from twin_resources.models.serving.model_server import ServerProcess, warm_up
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.processes.program_progress import ProgramProgress
from twin_resources.settings import Settings

HEALTH_CHECK_INTERVAL_S = 5.0
# Maximum idle time of a server that does not answer; a busy server uses CPU time.
HEALTH_IDLE_TIMEOUT_S = 30.0
# The gateway reads a new servers.json within a second. Until then, it may still send requests to
# the old server.
MIN_DRAIN_S = 5.0
MAX_DRAIN_S = 300.0
MAX_RETRY_DELAY_S = 30.0
STOP_TIMEOUT_S = 5.0  # the supervisor kills the fleet after 8 s


@dataclass(frozen=True)
class RequiredServer:
    """A required server: a base model with or without an adapter, or an external server.

    The fleet does not start a server that has an address (`https://…/v1#model`).
    """

    base_gguf: str
    adapter_gguf: str | None = None
    address: str = ""


def retry_delay_s(failure_count: int) -> float:
    """Return the seconds to wait after this many consecutive failures: 1, 2, 4 … 30."""
    return min(2.0 ** (failure_count - 1), MAX_RETRY_DELAY_S)


class FleetMember:
    """One llama.cpp server of the fleet."""

    def __init__(self, key: str, required_server: RequiredServer, *, settings: Settings) -> None:
        self.key = key
        self.required_server = required_server
        self.server: RunningServer | None = None
        self.problem = ""
        self.draining_since: float | None = None
        self._settings = settings
        self._process: ServerProcess | None = None
        self._failure_count = 0
        self._retry_at = 0.0
        self._progress: ProgramProgress | None = None  # since the last response
        self._checked_at = 0.0

    def step(self, now: float) -> None:
        """Start the server, mark it ready, or record that it has failed."""
        try:
            if self._process is None:
                if now >= self._retry_at:
                    self._start()
            elif self.server is None:
                self._mark_ready(self._process)
            else:
                self._check_health(self._process, now)
        except TwinError as error:
            self._record_failure(str(error), now)

    def is_drained(self, now: float) -> bool:
        """Return whether a draining server may stop, because it is idle or its time is up.

        A server that does not report its requests counts as busy. It reports metrics only between
        two model steps, and a long prompt is a single step.
        """
        if self.draining_since is None:
            return False
        elapsed_s = now - self.draining_since
        if self._process is None or self.server is None or elapsed_s > MAX_DRAIN_S:
            return True
        try:
            return elapsed_s > MIN_DRAIN_S and self._process.count_active_requests() == 0
        except TwinError:  # the process has ended
            return True

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(timeout_s=STOP_TIMEOUT_S)
            self._process = None
        self.server = None

    def _start(self) -> None:
        self._process = ServerProcess(
            self._settings,
            self.required_server.base_gguf,
            self.required_server.adapter_gguf,
            alias=self.key,
            threads=self._settings.serving_threads,
        )

    def _mark_ready(self, process: ServerProcess) -> None:
        server = process.running_server()
        if server is not None:
            seconds = warm_up(server)
            self.server, self.problem, self._failure_count, self._progress = server, "", 0, None
            log(f"{self.key} is ready at {server.url}, warmed up in {seconds:.2f} s")

    def _check_health(self, process: ServerProcess, now: float) -> None:
        if not process.has_ended() and now - self._checked_at < HEALTH_CHECK_INTERVAL_S:
            return
        self._checked_at = now
        if process.running_server() is not None:
            self._progress = None
            return
        self._progress = self._progress or ProgramProgress()
        reason = self._progress.find_stop_reason(
            process.pid, process.log_path, max_idle_s=HEALTH_IDLE_TIMEOUT_S
        )
        if reason:
            raise TwinError(
                f"serve {self.key}",
                found=f"no answer: {reason}",
                next_step=f"read {process.log_path}; the fleet restarts it",
            )

    def _record_failure(self, problem: str, now: float) -> None:
        self.stop()
        self.problem = problem
        self._failure_count += 1
        delay_s = retry_delay_s(self._failure_count)
        self._retry_at = now + delay_s
        log(f"{self.key} is down; next attempt in {delay_s:.0f} s. {problem}")


def log(line: str) -> None:
    """Write a line with the current time to the fleet's log."""
    sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}\n")
    sys.stderr.flush()
