"""One server of the fleet: loading, ready, failed and started again, draining, ended.

Scope: the life of one server process, a look at a time, never waiting.
Out of scope: which servers there shall be (`fleet.py`), the process (`model_server.py`).
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
# Of a server that does not answer: busy, it uses the processor, and readers wait for a stuck one.
HEALTH_IDLE_S = 30.0
# The gateway follows servers.json within a second; a request that had chosen the old server by then
# is on its way to it.
DRAIN_AT_LEAST_S = 5.0
DRAIN_AT_MOST_S = 300.0
MAX_PAUSE_S = 30.0
END_WITHIN_S = 5.0  # the supervisor waits 8 s for the fleet before it kills


@dataclass(frozen=True)
class WantedServer:
    """One server that shall be up: the base alone, base and adapter of a version, or what answers
    at an address (`https://…/v1#model`), which is not ours to start."""

    base_gguf: str
    adapter_gguf: str | None = None
    address: str = ""


def retry_pause(failures: int) -> float:
    """Seconds until a server that failed this often in a row is started again: 1, 2, 4 … 30."""
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
        self._progress: ProgramProgress | None = None  # since it answered last
        self._asked_at = 0.0

    def step(self, now: float) -> None:
        """Move on by one look: start, become ready, or notice that it has failed."""
        try:
            if self._process is None:
                if now >= self._retry_at:
                    self._start()
            elif self.server is None:
                self._become_ready(self._process)
            else:
                self._look_after(self._process, now)
        except TwinError as error:
            self._fail(str(error), now)

    def drained(self, now: float) -> bool:
        """Whether a leaving server may end: nobody asks any more, or it was given long enough.

        One that does not say how many ask is busy: it answers its metrics between two steps of the
        model, and a long prompt is one step.
        """
        if self.leaving_since is None:
            return False
        gone = now - self.leaving_since
        if self._process is None or self.server is None or gone > DRAIN_AT_MOST_S:
            return True
        try:
            return gone > DRAIN_AT_LEAST_S and self._process.busy() == 0
        except TwinError:  # it has ended by itself
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

    def _look_after(self, process: ServerProcess, now: float) -> None:
        if not process.has_ended() and now - self._asked_at < HEALTH_EVERY_S:
            return
        self._asked_at = now
        if process.running() is not None:
            self._progress = None
            return
        self._progress = self._progress or ProgramProgress()
        why = self._progress.given_up(process.pid, process.log_path, most_idle_s=HEALTH_IDLE_S)
        if why:
            raise TwinError(
                f"serve {self.key}",
                found=f"no answer, {why}",
                next_step=f"read {process.log_path}; it is started again",
            )

    def _fail(self, problem: str, now: float) -> None:
        self.end()
        self.problem = problem
        self._failures += 1
        self._retry_at = now + retry_pause(self._failures)
        say(f"{self.key} is down, next try in {retry_pause(self._failures):.0f} s. {problem}")


def say(line: str) -> None:
    """One line with its time into the fleet's log."""
    sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}\n")
    sys.stderr.flush()
