"""One server of the fleet: loading, ready, failed and restarted, draining, ended.

Scope: the states of one server process, checked step by step without waiting.
Out of scope: choosing the servers (`fleet.py`), the process (`model_server.py`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime

from twin_resources.errors import TwinError
from twin_resources.models.serving.model_server import ServerProcess, serve_warmed_up
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.processes.program_progress import ProgramProgress
from twin_resources.settings import Settings

HEALTH_EVERY_S = 5.0
# Idle time of a server that does not answer; a busy one uses the processor.
HEALTH_IDLE_S = 30.0
# The gateway follows servers.json within a second; a request that chose the old server by then is
# still on its way.
DRAIN_AT_LEAST_S = 5.0
DRAIN_AT_MOST_S = 300.0
MAX_PAUSE_S = 30.0
END_WITHIN_S = 5.0  # the supervisor kills the fleet after 8 s


@dataclass(frozen=True)
class WantedServer:
    """One required server: the base alone, base and adapter of a version, or an address
    (`https://…/v1#model`), whose server the fleet does not start."""

    base_gguf: str
    adapter_gguf: str | None = None
    address: str = ""


def retry_pause(failures: int) -> float:
    """Return the seconds before a restart after this many failures in a row: 1, 2, 4 … 30."""
    return min(2.0 ** (failures - 1), MAX_PAUSE_S)


class FleetMember:
    """One server of the fleet: loading, ready, failed, or draining."""

    def __init__(self, key: str, wanted: WantedServer, *, settings: Settings) -> None:
        self.key = key
        self.wanted = wanted
        self.server: RunningServer | None = None
        self.problem = ""
        self.leaving_since: float | None = None
        self._settings = settings
        self._process: ServerProcess | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._progress: ProgramProgress | None = None  # since the last response
        self._checked_at = 0.0

    def step(self, now: float) -> None:
        """Check once: start the server, mark it ready, or record that it has failed."""
        try:
            if self._process is None:
                if now >= self._retry_at:
                    self._start()
            elif self.server is None:
                self._become_ready(self._process)
            else:
                self._check_health(self._process, now)
        except TwinError as error:
            self._fail(str(error), now)

    def drained(self, now: float) -> bool:
        """Return whether a leaving server may end: it is idle, or the time limit has passed.

        A server that does not report its requests counts as busy: it answers for metrics only
        between two steps of the model, and a long prompt is one step.
        """
        if self.leaving_since is None:
            return False
        elapsed = now - self.leaving_since
        if self._process is None or self.server is None or elapsed > DRAIN_AT_MOST_S:
            return True
        try:
            return elapsed > DRAIN_AT_LEAST_S and self._process.busy() == 0
        except TwinError:  # the process has ended
            return True

    def ask_to_end(self) -> None:
        if self._process is not None:
            self._process.ask_to_end()

    def end(self, *, within_s: float = END_WITHIN_S) -> None:
        if self._process is not None:
            self._process.end(within_s=within_s)
            self._process = None
        self.server = None

    def _start(self) -> None:
        self._process = ServerProcess(
            self._settings,
            self.wanted.base_gguf,
            self.wanted.adapter_gguf,
            alias=self.key,
            threads=self._settings.serving_threads,
        )

    def _become_ready(self, process: ServerProcess) -> None:
        server = process.running()
        if server is not None:
            seconds = serve_warmed_up(server)
            self.server, self.problem, self._failures, self._progress = server, "", 0, None
            say(f"{self.key} is ready at {server.url}, warmed up in {seconds:.2f} s")

    def _check_health(self, process: ServerProcess, now: float) -> None:
        if not process.has_ended() and now - self._checked_at < HEALTH_EVERY_S:
            return
        self._checked_at = now
        if process.running() is not None:
            self._progress = None
            return
        self._progress = self._progress or ProgramProgress()
        why = self._progress.given_up(process.pid, process.log_path, most_idle_s=HEALTH_IDLE_S)
        if why:
            raise TwinError(
                f"serve {self.key}",
                found=f"no answer, {why}",
                next_step=f"read {process.log_path}; the fleet restarts it",
            )

    def _fail(self, problem: str, now: float) -> None:
        self.end()
        self.problem = problem
        self._failures += 1
        self._retry_at = now + retry_pause(self._failures)
        say(f"{self.key} is down, next try in {retry_pause(self._failures):.0f} s. {problem}")


def say(line: str) -> None:
    """Write one line with its time to the fleet's log."""
    sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}\n")
    sys.stderr.flush()
