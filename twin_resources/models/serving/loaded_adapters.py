"""Which of a home's adapters are loaded at the server of `TWIN_MODEL_SERVER_URL`, and for how long.

Scope: loading what somebody asks, keeping it while it is in use, unloading what nobody uses.
Out of scope: the requests (`adapter_routes.py`), publishing who answers (`fleet.py`).

Several processes use one adapter: the fleet for readers, a gate or a trial for its questions. Each
holds a shared lock on the adapter's lease file while it does, and only who has the file alone
unloads. The kernel frees the lock of a killed process, so that no crash keeps an adapter loaded.

An adapter is known by its name and by the folder that it was loaded from, which vLLM lists as
`root`. Under a name that another folder of this home stands behind, it is loaded again; a folder
elsewhere is somebody else's, and refused: it would answer as this author. A server that lists no
folders is taken at its word, as one whose adapters a person loads (`--lora-modules`).
"""
# pyright: strict

from __future__ import annotations

import fcntl
import hashlib
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from twin_resources.errors import TwinError
from twin_resources.models.serving import adapter_routes
from twin_resources.models.serving.adapter_routes import OfferedModel
from twin_resources.settings import Settings

# A stream that had begun when its version was replaced is over by then; vLLM keeps what is loaded
# in the processor's memory, so that an adapter which waits costs little.
DRAINED_AFTER_S = 300.0
PEFT_FOLDER, PEFT_CONFIG = "adapter", "adapter_config.json"  # of a checkpoint's folder
_OURS = re.compile(r"[^/]+/v\d+")


def peft_folder(checkpoint: str | Path) -> Path | None:
    """The PEFT adapter in a checkpoint's folder; None: it has none (fully trained, or a name)."""
    folder = Path(checkpoint) / PEFT_FOLDER
    return folder if checkpoint and (folder / PEFT_CONFIG).is_file() else None


def not_offered(name: str, url: str, offered: Iterable[str]) -> TwinError:
    """What to do about a name that a server does not offer, and that nothing can be loaded for."""
    return TwinError(
        f"serve {name} at {url}",
        found=f"it offers {', '.join(sorted(offered)) or 'nothing'}",
        next_step=f"load it there under this name (vLLM: --lora-modules {name}=FOLDER)",
    )


class AdapterServer:
    """The adapters of one home at one server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = settings.model_server_url.rstrip("/")
        self._key = settings.model_server_key
        self._leases = settings.work_dir / "adapters-in-use"

    def path_there(self, folder: Path) -> str:
        """A folder of this home as the server sees it (`TWIN_MODEL_SERVER_HOME`)."""
        there = self._settings.model_server_home
        if not there or not folder.is_relative_to(self._settings.home):
            return str(folder)
        return str(PurePosixPath(there) / folder.relative_to(self._settings.home).as_posix())

    def is_of_this_home(self, model: OfferedModel) -> bool:
        """Whether the server loaded it from a checkpoint of this home, under a version's name."""
        checkpoints = PurePosixPath(self.path_there(self._settings.checkpoints_dir))
        inside = bool(model.root) and PurePosixPath(model.root).is_relative_to(checkpoints)
        return inside and bool(model.parent) and bool(_OURS.fullmatch(model.name))

    def offered(self) -> dict[str, OfferedModel]:
        """As `adapter_routes.offered`."""
        return adapter_routes.offered(self._url, self._key)

    def require(
        self, name: str, folder: Path | None, *, listed: Mapping[str, OfferedModel] | None = None
    ) -> None:
        """Have the server offer `name` from that folder. The caller holds the lease.

        Args:
            folder: PEFT folder; None: nothing can be loaded, a person has to.
            listed: what it offers, asked since the lease is held; None: it is asked now.

        Raises:
            TwinError: it does not answer, refuses, or offers another folder under that name.
        """
        offered = self.offered() if listed is None else listed
        known = offered.get(name)
        if known is not None:
            if folder is None or not known.root or not known.parent:
                return
            if known.root == self.path_there(folder):
                return
            if not self.is_of_this_home(known):
                raise TwinError(
                    f"serve {name} at {self._url}",
                    found=f"under this name it serves {known.root}, not {self.path_there(folder)}",
                    next_step="unload that one there, give each home a server of its own, or say "
                    "in TWIN_MODEL_SERVER_HOME under which path the server sees this home",
                )
            adapter_routes.unload(self._url, self._key, name=name)
        if folder is None:
            raise not_offered(name, self._url, offered)
        try:
            adapter_routes.load(self._url, self._key, name=name, path=self.path_there(folder))
        except TwinError:
            # of two that load at once the server refuses one, and both have what they want
            again = self.offered().get(name)
            if again is None or again.root != self.path_there(folder):
                raise

    def hold(self, name: str) -> IO[bytes]:
        """Take a share of an adapter's lease: nobody unloads it until the file is closed."""
        stream = self._lease(name)
        fcntl.flock(stream, fcntl.LOCK_SH)
        return stream

    def unload_unused(self, name: str) -> bool:
        """Unload one that nobody holds.

        Returns:
            False: somebody uses it, or what stands there is not of this home.

        Raises:
            TwinError: the server does not answer, or could not let go of it.
        """
        with self._lease(name) as lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            known = self.offered().get(name)
            if known is None or not self.is_of_this_home(known):
                return False
            adapter_routes.unload(self._url, self._key, name=name)
            return True

    @contextmanager
    def loaded(self, name: str, folder: Path | None) -> Generator[None]:
        """Keep an adapter loaded for as long as the context lasts; as `require`.

        Afterwards it is unloaded, unless somebody else uses it.
        """
        try:
            with self.hold(name):
                self.require(name, folder)
                yield
        finally:
            # what was asked is answered, and a server that keeps it is no reason to lose that: the
            # fleet looks for such adapters, and says why one stays
            with suppress(TwinError):
                self.unload_unused(name)

    def _lease(self, name: str) -> IO[bytes]:
        self._leases.mkdir(parents=True, exist_ok=True)
        # no author's name in a file that outlives a forgotten author
        key = hashlib.sha256(name.encode()).hexdigest()[:16]
        return (self._leases / f"{key}.lease").open("ab")


@dataclass
class _Leaving:
    since: float
    lease: IO[bytes] | None


@dataclass(frozen=True)
class _Failed:
    times: int
    retry_at: float
    problem: str


class FleetAdapters:
    """What the fleet keeps loaded: the versions in use, and for a while those that were.

    One look at a time, each with what is wanted then; a server that was restarted has lost all
    adapters, and gets them again at the next look.
    """

    def __init__(
        self, settings: Settings, *, say: Callable[[str], None], retry_pause: Callable[[int], float]
    ) -> None:
        """
        Args:
            say: one line for the log.
            retry_pause: seconds after so many failures in a row.
        """
        self._server = AdapterServer(settings)
        self._say = say
        self._retry_pause = retry_pause
        self._held: dict[str, IO[bytes]] = {}
        self._leaving: dict[str, _Leaving] = {}
        self._failed: dict[str, _Failed] = {}

    def step(self, wanted: Mapping[str, Path | None], now: float) -> dict[str, str]:
        """Load what is wanted and absent, unload what has not been wanted for long enough.

        Args:
            wanted: PEFT folders by version's name; None: a person loads it.
            now: seconds of a clock that never goes back.

        Returns:
            Why a wanted one is not there, by its name; empty: all are.

        Raises:
            TwinError: the server does not answer.
        """
        for name in wanted:  # before the list: what it shows then, nobody unloads
            self._keep(name)
        listed = self._server.offered()
        self._failed = {name: failed for name, failed in self._failed.items() if name in wanted}
        for name, folder in wanted.items():
            self._require(name, folder, listed, now)
        for name in set(self._held) - set(wanted):
            self._leaving[name] = _Leaving(now, self._held.pop(name))
        for name, model in listed.items():
            if name not in wanted and self._server.is_of_this_home(model):
                # a killed gate's, or of the fleet before this one: somebody may still read from it
                self._leaving.setdefault(name, _Leaving(now, None))
        self._unload_drained(now)
        return {name: failed.problem for name, failed in self._failed.items()}

    def end(self) -> None:
        """Let go of every lease; what is loaded stays, and the next fleet finds it."""
        leases = [*self._held.values(), *(one.lease for one in self._leaving.values())]
        for lease in leases:
            if lease is not None:
                lease.close()
        self._held.clear()
        self._leaving.clear()

    def _keep(self, name: str) -> None:
        again = self._leaving.pop(name, None)
        if name not in self._held:
            self._held[name] = (again.lease if again else None) or self._server.hold(name)

    def _require(
        self, name: str, folder: Path | None, listed: Mapping[str, OfferedModel], now: float
    ) -> None:
        before = self._failed.get(name)
        if before is not None and now < before.retry_at:
            return
        try:
            self._server.require(name, folder, listed=listed)
        except TwinError as error:
            times = before.times + 1 if before else 1
            self._failed[name] = _Failed(times, now + self._retry_pause(times), str(error))
            if before is None or before.problem != str(error):
                self._say(f"{name} is not served. {error}")
            return
        self._failed.pop(name, None)
        if name not in listed:
            self._say(f"{name} is loaded")

    def _unload_drained(self, now: float) -> None:
        for name, leaving in list(self._leaving.items()):
            if now - leaving.since < DRAINED_AFTER_S:
                continue
            if leaving.lease is not None:
                leaving.lease.close()
                leaving.lease = None
            try:
                if self._server.unload_unused(name):
                    self._say(f"{name} is unloaded")
            except TwinError as error:
                leaving.since = now  # later again; it hinders nobody
                self._say(f"{name} is not unloaded. {error}")
                continue
            del self._leaving[name]
