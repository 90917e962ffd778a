"""An answer model at an address as a member of the fleet, which checks it periodically."""

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.models.serving.fleet_member import FleetMember, log, retry_delay_s
from twin_resources.models.serving.model_server import find_external_server

# Limits the requests to a paid service. If it fails between two checks, the base model answers.
CHECK_INTERVAL_S = 15.0
CHECK_TIMEOUT_S = 3.0  # short, because the fleet waits for each check


class ExternalMember(FleetMember):
    """An external answer model, which has no local process and is ready while it answers."""

    def step(self, now: float) -> None:
        """Check the address if the interval has passed."""
        if now < self._retry_at:
            return
        try:
            server = find_external_server(
                self._settings, self.required_server.address, timeout_s=CHECK_TIMEOUT_S
            )
        except TwinError as error:
            self._failure_count += 1
            self._retry_at = now + retry_delay_s(self._failure_count)
            if self.server is not None or not self.problem:
                log(f"{self.key} does not answer. {error}")
            self.server, self.problem = None, str(error)
            return
        if self.server is None:
            log(f"{self.key} answers at {server.url}")
        self.server, self.problem, self._failure_count = server, "", 0
        self._retry_at = now + CHECK_INTERVAL_S
