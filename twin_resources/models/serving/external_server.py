"""Represent an answer model at an external address as a fleet member, and check it periodically.

Scope: the interval of the checks, and the effect of a failed check. Out of scope: this home's
servers (`fleet_member.py`), a single check (`named_server.py`).
"""

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.models.serving.fleet_member import RequiredServer, log, retry_delay_s
from twin_resources.models.serving.named_server import find_external_server
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.settings import Settings

# Limits the requests to a paid service. If it fails between checks, the base model answers.
CHECK_INTERVAL_S = 15.0
CHECK_TIMEOUT_S = 3.0  # the fleet waits for this check


class ExternalMember:
    """An answer model at an external address, with the interface of `fleet_member.FleetMember`.

    The member has no process and is ready while the address answers.
    """

    def __init__(self, key: str, required_server: RequiredServer, *, settings: Settings) -> None:
        self.key = key
        self.wanted = required_server
        self.server: RunningServer | None = None
        self.problem = ""
        self.draining_since: float | None = None
        self._settings = settings
        self._failures = 0
        self._next_check_at = float("-inf")

    def step(self, now: float) -> None:
        """Check the address if the interval has passed."""
        if now < self._next_check_at:
            return
        try:
            server = find_external_server(
                self._settings, self.wanted.address, timeout_s=CHECK_TIMEOUT_S
            )
        except TwinError as error:
            self._failures += 1
            self._next_check_at = now + retry_delay_s(self._failures)
            if self.server is not None or not self.problem:
                log(f"{self.key} does not answer. {error}")
            self.server, self.problem = None, str(error)
            return
        if self.server is None:
            log(f"{self.key} answers at {server.url}")
        self.server, self.problem, self._failures = server, "", 0
        self._next_check_at = now + CHECK_INTERVAL_S

    def is_drained(self, _now: float) -> bool:
        return self.draining_since is not None

    def terminate(self) -> None:
        """Do nothing, because the server does not belong to this home."""

    def stop(self) -> None:
        self.server = None
