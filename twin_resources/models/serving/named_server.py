"""An answer model at an address: the server that it is, and looking whether it is there.

Belongs here: asking it now and then, for the fleet, and once, for a trial.
Does not belong here: servers of ours (`fleet_member.py`), the one server that answers for a whole
home (`TWIN_MODEL_SERVER_URL`, `model_server.py`), what a name may be (`answer_model.py`).
"""

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.models.serving.fleet_member import WantedServer, retry_pause, say
from twin_resources.models.serving.model_server import RunningServer
from twin_resources.settings import Settings
from twin_resources.storage.weights.answer_model import address_of, offered_ids

# A paid address is not asked more often than that; what fails in between, the gateway answers by
# the base model at once.
LOOK_EVERY_S = 15.0
LOOK_AT_MOST_S = 3.0  # the fleet waits for it


def named_server(settings: Settings, name: str, *, timeout_s: float = 10.0) -> RunningServer:
    """The server behind `https://…/v1#model`.

    Raises:
        TwinError: it does not answer, or does not offer that model any more.
    """
    url, model = address_of(name)
    offered = offered_ids(url, settings.answer_model_key, timeout_s=timeout_s)
    if model not in offered:
        raise TwinError(
            f"serve {model} at {url}",
            found=f"it offers {', '.join(offered) or 'no model'}",
            next_step="load it there, or name another with `twin up --answer-model`",
        )
    return RunningServer(url, model, settings.answer_model_key, None, url.removesuffix("/v1"))


class NamedMember:
    """The answer model at an address as the fleet sees it; as `fleet_member.FleetMember`, without a
    process: it is ready while it answers."""

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
        """Look, when it is time for that."""
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
        """It is not ours."""

    def end(self) -> None:
        self.server = None
