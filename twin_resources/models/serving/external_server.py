"""An answer model at an address, as a member of the fleet that is checked periodically.

Scope: the interval of the checks, the effect of a failed one. Out of scope: this home's servers
(`fleet_member.py`), one check (`named_server.py`).
"""

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.models.serving.fleet_member import WantedServer, retry_pause, say
from twin_resources.models.serving.named_server import named_server
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.settings import Settings

# Limits the requests to a paid address. If it fails in between, the gateway's base model answers.
LOOK_EVERY_S = 15.0
LOOK_AT_MOST_S = 3.0  # the fleet waits for this check


class NamedMember:
    """An answer model at an address; like `fleet_member.FleetMember`, but without a process: it is
    ready while the address answers."""

    def __init__(self, key: str, wanted: WantedServer, *, settings: Settings) -> None:
        self.key = key
        self.wanted = wanted
        self.server: RunningServer | None = None
        self.problem = ""
        self.leaving_since: float | None = None
        self._settings = settings
        self._failures = 0
        self._next_look = float("-inf")

    def step(self, now: float) -> None:
        """Check the address if the interval has passed."""
        if now < self._next_look:
            return
        try:
            server = named_server(self._settings, self.wanted.address, timeout_s=LOOK_AT_MOST_S)
        except TwinError as error:
            self._failures += 1
            self._next_look = now + retry_pause(self._failures)
            if self.server is not None or not self.problem:
                say(f"{self.key} does not answer. {error}")
            self.server, self.problem = None, str(error)
            return
        if self.server is None:
            say(f"{self.key} answers at {server.url}")
        self.server, self.problem, self._failures = server, "", 0
        self._next_look = now + LOOK_EVERY_S

    def drained(self, _now: float) -> bool:
        return self.leaving_since is not None

    def ask_to_end(self) -> None:
        """Do nothing: another owner's server is not ended."""

    def end(self) -> None:
        self.server = None
