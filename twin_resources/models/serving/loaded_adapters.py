"""Load and unload a home's adapters on the server at `TWIN_MODEL_SERVER_URL`.

Scope: loading required adapters, keeping those in use, and unloading unused ones.
Out of scope: the requests (`adapter_routes.py`), publishing the servers (`fleet.py`).

Several processes may use one adapter: the fleet serves readers, and a gate or a trial asks its
questions. Each holds a shared lock on the adapter's lease file while it uses the adapter. Only a
process that gets the exclusive lock unloads the adapter. The kernel releases the lock of a killed
process, so a crash does not keep an adapter loaded.

Hosts that share one server do not see each other's locks. Therefore no host unloads a stable or
canary version, or an adapter that another host requests in the state store. The fleet on the
server's host also loads requested adapters, because the server reads them from its own disk.

An adapter is identified by its name and the folder from which it was loaded, which vLLM lists as
`root`. If the name belongs to a different folder of this home, the adapter is loaded again. A
folder outside this home is an error, because another owner's adapter would answer as this author. A
server that does not list folders is trusted: its operator loads the adapters (`--lora-modules`).
"""
# pyright: strict

from __future__ import annotations

import fcntl
import hashlib
import re
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from twin_resources.errors import TwinError
from twin_resources.models.serving import adapter_routes
from twin_resources.models.serving.adapter_requests import (
    POLL_INTERVAL_S,
    announce_loading,
    request_adapter,
    requested_names,
    wait_for_other_host,
)
from twin_resources.models.serving.adapter_routes import OfferedModel
from twin_resources.registry.host_sync import fetch_version
from twin_resources.registry.registry import Registry
from twin_resources.registry.shared_files import has_shared_state
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

# After this delay, streams that started before their version was replaced have ended. vLLM keeps
# adapters in main memory, so an unused adapter costs little.
UNLOAD_DELAY_S = 300.0
PEFT_FOLDER, PEFT_CONFIG = "adapter", "adapter_config.json"  # in the checkpoint folder
_VERSION_NAME = re.compile(r"[^/]+/v\d+")


def peft_folder(checkpoint: str | Path) -> Path | None:
    """Return a checkpoint's PEFT folder, or None for a full fine-tune or a bare model name."""
    folder = Path(checkpoint) / PEFT_FOLDER
    return folder if checkpoint and (folder / PEFT_CONFIG).is_file() else None


def not_offered_error(name: str, url: str, offered_names: Iterable[str]) -> TwinError:
    """Create the error for a name that a server neither offers nor can load."""
    return TwinError(
        f"serve {name} at {url}",
        found=f"it offers {', '.join(sorted(offered_names)) or 'nothing'}",
        next_step=f"load it there under this name (vLLM: --lora-modules {name}=FOLDER)",
    )


class AdapterServer:
    """A client that loads and unloads the adapters of one home on one server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = settings.model_server_url.rstrip("/")
        self._key = settings.model_server_key
        self._lease_folder = settings.work_dir / "adapters-in-use"

    def server_path(self, folder: Path) -> str:
        """Return a home folder's path as the server sees it (`TWIN_MODEL_SERVER_HOME`)."""
        server_home = self._settings.model_server_home
        if not server_home or not folder.is_relative_to(self._settings.home):
            return str(folder)
        return str(PurePosixPath(server_home) / folder.relative_to(self._settings.home).as_posix())

    def is_from_home(self, model: OfferedModel) -> bool:
        """Return whether a model was loaded from this home's checkpoints under a version name."""
        checkpoints = PurePosixPath(self.server_path(self._settings.checkpoints_dir))
        is_in_checkpoints = bool(model.root) and PurePosixPath(model.root).is_relative_to(
            checkpoints
        )
        return (
            is_in_checkpoints and bool(model.parent) and bool(_VERSION_NAME.fullmatch(model.name))
        )

    def list_models(self) -> dict[str, OfferedModel]:
        """Return the models that the server offers; see `adapter_routes.list_models`."""
        return adapter_routes.list_models(self._url, self._key)

    def ensure_loaded(
        self,
        name: str,
        folder: Path | None,
        *,
        listed_models: Mapping[str, OfferedModel] | None = None,
    ) -> None:
        """Load the adapter if the server does not offer it yet. The caller must hold the lease.

        Args:
            folder: PEFT folder; None if only the server's operator can load the adapter.
            listed_models: models listed after the lease was taken; None to list them now.

        Raises:
            TwinError: the server does not answer, refuses, or offers that name from a folder
                outside this home.
        """
        offered_models = self.list_models() if listed_models is None else listed_models
        loaded_model = offered_models.get(name)
        if loaded_model is not None:
            if folder is None or not loaded_model.root or not loaded_model.parent:
                return
            if loaded_model.root == self.server_path(folder):
                return
            if not self.is_from_home(loaded_model):
                raise TwinError(
                    f"serve {name} at {self._url}",
                    found=f"it serves {loaded_model.root} under this name, not "
                    f"{self.server_path(folder)}",
                    next_step="unload that adapter, give each home its own server, or set "
                    "TWIN_MODEL_SERVER_HOME to the path of this home on the server",
                )
            adapter_routes.unload_adapter(self._url, self._key, name=name)
        if folder is None:
            raise not_offered_error(name, self._url, offered_models)
        try:
            adapter_routes.load_adapter(
                self._url, self._key, name=name, path=self.server_path(folder)
            )
        except TwinError:
            # The server refuses one of two concurrent requests, although the adapter is loaded.
            if not self._offers(name, folder):
                raise

    def acquire_lease(self, name: str) -> IO[bytes]:
        """Take a shared lock on an adapter's lease; closing the file releases it."""
        stream = self._open_lease_file(name)
        fcntl.flock(stream, fcntl.LOCK_SH)
        return stream

    def unload_unused(self, name: str) -> bool:
        """Unload an adapter if no process uses it.

        Returns:
            False if a process or another host uses the adapter, or if the server has no such
            adapter of this home.

        Raises:
            TwinError: the server does not answer, or could not unload it.
        """
        with self._open_lease_file(name) as lease:
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            loaded_model = self.list_models().get(name)
            if loaded_model is None or not self.is_from_home(loaded_model):
                return False
            if self._is_used_by_hosts(name):
                return False
            adapter_routes.unload_adapter(self._url, self._key, name=name)
            return True

    @contextmanager
    def keep_adapter_loaded(self, name: str, folder: Path | None) -> Generator[None]:
        """Keep an adapter loaded for the duration of the context; see `ensure_loaded`.

        If the server cannot read this host's disk, the fleet on the server's host loads the
        adapter. On exit, the adapter is unloaded unless another process uses it.
        """
        try:
            with self.acquire_lease(name), request_adapter(self._settings, name):
                try:
                    self.ensure_loaded(name, folder)
                except TwinError:
                    if folder is None or not wait_for_other_host(
                        self._settings, lambda: self._offers(name, folder)
                    ):
                        raise
                yield
        finally:
            # The answers are complete and must not be lost if unloading fails. The fleet later
            # finds an adapter that is still loaded and logs the reason.
            with suppress(TwinError):
                self.unload_unused(name)

    def _offers(self, name: str, folder: Path) -> bool:
        """Return whether the server offers this name from this folder."""
        model = self.list_models().get(name)
        return model is not None and model.root == self.server_path(folder)

    def _is_used_by_hosts(self, name: str) -> bool:
        """Return whether a host that shares the state store serves or requests this version."""
        if not has_shared_state(self._settings):
            return False
        author, _, number = name.rpartition("/v")
        with closing(open_home_state(self._settings)) as state:
            if name in requested_names(state):
                return True
            versions = Registry(state, policy_path=self._settings.policy_path).versions(author)
        return any(
            version.version == int(number) and version.state in {"stable", "canary"}
            for version in versions
        )

    def _open_lease_file(self, name: str) -> IO[bytes]:
        self._lease_folder.mkdir(parents=True, exist_ok=True)
        # The file name is a hash, because the file remains after the author's data is erased.
        key = hashlib.sha256(name.encode()).hexdigest()[:16]
        return (self._lease_folder / f"{key}.lease").open("ab")


@dataclass
class _UnusedAdapter:
    unused_since: float
    lease: IO[bytes] | None


@dataclass(frozen=True)
class _FailedAdapter:
    failure_count: int
    retry_at: float
    problem: str


class RequestedAdapters:
    """The adapters that this host loads because other hosts request them."""

    def __init__(self, settings: Settings, *, log: Callable[[str], None]) -> None:
        self._settings, self._log = settings, log
        self._server = AdapterServer(settings)
        self._state: State | None = None
        self._leases: dict[str, IO[bytes] | None] = {}  # None: this host could not load it
        self._problem = ""

    def poll_once(self) -> None:
        """Load the newly requested adapters, and release those that no host requests any more.

        The fleet unloads a released adapter later, like every unused one. This host does not
        retry a failed load, because another host may have the server's disk.

        Raises:
            TwinError: the state store cannot be read.
        """
        self._state = self._state or open_home_state(self._settings)
        names = requested_names(self._state)
        for name in self._leases.keys() - names:
            lease = self._leases.pop(name)
            if lease is not None:
                lease.close()
        for name in sorted(names - self._leases.keys()):
            with announce_loading(self._state, name):
                self._leases[name] = self._load(self._state, name)

    def run(self, stop: threading.Event) -> None:
        """Poll until `stop` is set; log each problem once."""
        while not stop.wait(POLL_INTERVAL_S):
            problem = ""
            try:
                self.poll_once()
            except Exception as error:  # noqa: BLE001 - logged; the next poll tries again
                problem = f"{type(error).__name__}: {error}"
            if problem and problem != self._problem:
                self._log(f"requested adapters: {problem}")
            self._problem = problem

    def _load(self, state: State, name: str) -> IO[bytes] | None:
        author, _, number = name.rpartition("/v")
        lease = self._server.acquire_lease(name)
        try:
            registry = Registry(state, policy_path=self._settings.policy_path)
            version = registry.get(author, int(number))
            fetch_version(self._settings, version)
            self._server.ensure_loaded(name, peft_folder(version.folder))
        except TwinError as error:
            self._log(f"{name}, which another host requests, is not loaded. {error}")
            lease.close()
            return None
        self._log(f"{name}, which another host requests, is loaded")
        return lease


class FleetAdapters:
    """The adapters that the fleet keeps loaded for versions in use or recently used.

    Each step receives the adapters required at that time. After a server restarts without its
    adapters, the next step loads them again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        log: Callable[[str], None],
        retry_delay_s: Callable[[int], float],
    ) -> None:
        """Initialize the object without a request; the first step contacts the server.

        Args:
            log: function that writes a line to the log.
            retry_delay_s: function that returns the delay after a number of consecutive failures.
        """
        self._server = AdapterServer(settings)
        self._log = log
        self._retry_delay_s = retry_delay_s
        self._leases: dict[str, IO[bytes]] = {}
        self._unused_adapters: dict[str, _UnusedAdapter] = {}
        self._failed_adapters: dict[str, _FailedAdapter] = {}

    def step(self, required_folders: Mapping[str, Path | None], now: float) -> dict[str, str]:
        """Load missing required adapters, and unload adapters that were not required for a while.

        Args:
            required_folders: PEFT folders by version name; None if the server's operator loads the
                adapter.
            now: reading of a monotonic clock in seconds.

        Returns:
            The reason why each missing adapter could not be loaded, by name.

        Raises:
            TwinError: the server does not answer.
        """
        # Before listing, so that no other process unloads a listed adapter.
        for name in required_folders:
            self._keep_lease(name)
        listed_models = self._server.list_models()
        self._failed_adapters = {
            name: failure
            for name, failure in self._failed_adapters.items()
            if name in required_folders
        }
        for name, folder in required_folders.items():
            self._ensure_loaded(name, folder, listed_models, now)
        for name in set(self._leases) - set(required_folders):
            self._unused_adapters[name] = _UnusedAdapter(now, self._leases.pop(name))
        for name, model in listed_models.items():
            if name not in required_folders and self._server.is_from_home(model):
                # A killed gate or an earlier fleet left it; a request may still use it.
                self._unused_adapters.setdefault(name, _UnusedAdapter(now, None))
        self._unload_unused_adapters(now)
        return {name: failure.problem for name, failure in self._failed_adapters.items()}

    def close(self) -> None:
        """Release all leases; the adapters stay loaded, and the next fleet finds them."""
        leases = [
            *self._leases.values(),
            *(adapter.lease for adapter in self._unused_adapters.values()),
        ]
        for lease in leases:
            if lease is not None:
                lease.close()
        self._leases.clear()
        self._unused_adapters.clear()

    def _keep_lease(self, name: str) -> None:
        unused_adapter = self._unused_adapters.pop(name, None)
        if name not in self._leases:
            self._leases[name] = (
                unused_adapter.lease if unused_adapter else None
            ) or self._server.acquire_lease(name)

    def _ensure_loaded(
        self, name: str, folder: Path | None, listed_models: Mapping[str, OfferedModel], now: float
    ) -> None:
        previous_failure = self._failed_adapters.get(name)
        if previous_failure is not None and now < previous_failure.retry_at:
            return
        try:
            self._server.ensure_loaded(name, folder, listed_models=listed_models)
        except TwinError as error:
            failure_count = previous_failure.failure_count + 1 if previous_failure else 1
            self._failed_adapters[name] = _FailedAdapter(
                failure_count, now + self._retry_delay_s(failure_count), str(error)
            )
            if previous_failure is None or previous_failure.problem != str(error):
                self._log(f"{name} cannot be served. {error}")
            return
        self._failed_adapters.pop(name, None)
        if name not in listed_models:
            self._log(f"{name} is loaded")

    def _unload_unused_adapters(self, now: float) -> None:
        for name, unused_adapter in list(self._unused_adapters.items()):
            if now - unused_adapter.unused_since < UNLOAD_DELAY_S:
                continue
            if unused_adapter.lease is not None:
                unused_adapter.lease.close()
                unused_adapter.lease = None
            try:
                if self._server.unload_unused(name):
                    self._log(f"{name} is unloaded")
            except TwinError as error:
                unused_adapter.unused_since = now  # retry later; a loaded adapter does no harm
                self._log(f"{name} could not be unloaded. {error}")
                continue
            del self._unused_adapters[name]
