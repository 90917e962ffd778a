"""The adapters of this home on the server at `TWIN_MODEL_SERVER_URL`, which has vLLM's routes.

An adapter's name ends with its checkpoint's hash, `jane/v3-1a2b3c4d`, so a name never answers with
another version's weights. The fleet loads what the policy requires and unloads what it no longer
requires; a gate or a trial loads its candidate itself. One server serves one home.
"""
# pyright: strict

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from twin_resources.errors import TwinError
from twin_resources.models.serving import adapter_routes
from twin_resources.models.serving.adapter_routes import OfferedModel
from twin_resources.registry.policy import Policy, read_policy
from twin_resources.settings import Settings

# After this delay, streams that started before their version was replaced have ended. vLLM keeps
# adapters in main memory, so an unused adapter costs little.
UNLOAD_DELAY_S = 300.0
_USERS: Counter[tuple[str, str]] = Counter()  # contexts of this process by address and name
_USERS_LOCK = threading.Lock()
PEFT_FOLDER, PEFT_CONFIG = "adapter", "adapter_config.json"  # in the checkpoint folder


def peft_folder(checkpoint: str | Path) -> Path | None:
    """Return a checkpoint's PEFT folder, or None for a full fine-tune or a bare model name."""
    folder = Path(checkpoint) / PEFT_FOLDER
    return folder if checkpoint and (folder / PEFT_CONFIG).is_file() else None


def served_name(author: str, version: int, checkpoint: str, folder: Path | None) -> str:
    """Return a version's name on the server; without a folder, its operator loads the version."""
    return f"{author}/v{version}" + (f"-{checkpoint[:8]}" if folder else "")


def required_adapters(policy: Policy | None) -> dict[str, tuple[str, Path | None]]:
    """Return the name on the server and the PEFT folder of each version in use, by `jane/v3`."""
    adapters: dict[str, tuple[str, Path | None]] = {}
    for author, entry in policy.authors.items() if policy else ():
        for served in (entry.stable, entry.canary):
            if served is not None and not served.is_elsewhere:
                folder = peft_folder(served.folder)
                name = served_name(author, served.version, served.checkpoint, folder)
                adapters[f"{author}/v{served.version}"] = (name, folder)
    return adapters


def not_offered_error(name: str, url: str, offered_names: Iterable[str]) -> TwinError:
    """Create the error for a name that a server neither offers nor can load."""
    return TwinError(
        f"serve {name} at {url}",
        found=f"it offers {', '.join(sorted(offered_names)) or 'nothing'}",
        next_step=f"load it there under this name (vLLM: --lora-modules {name}=FOLDER)",
    )


class AdapterServer:
    """A client that loads and unloads the adapters of one home on its server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._url = settings.model_server_url.rstrip("/")
        self._key = settings.model_server_key

    def list_models(self) -> dict[str, OfferedModel]:
        """Return the models that the server offers, by name."""
        return adapter_routes.list_models(self._url, self._key)

    def load(self, name: str, folder: Path | None) -> None:
        """Load an adapter that the server does not offer yet.

        Args:
            folder: PEFT folder, as this home sees it (`TWIN_MODEL_SERVER_HOME`); None if only the
                server's operator can load it.

        Raises:
            TwinError: the server does not answer, or refuses.
        """
        if folder is None:
            raise not_offered_error(name, self._url, self.list_models())
        path, server_home = str(folder), self._settings.model_server_home
        if server_home and folder.is_relative_to(self._settings.home):
            relative_path = folder.relative_to(self._settings.home).as_posix()
            path = str(PurePosixPath(server_home) / relative_path)
        try:
            adapter_routes.load_adapter(self._url, self._key, name=name, path=path)
        except TwinError:
            if name not in self.list_models():  # of two requests at once, one is refused
                raise

    def unload(self, name: str) -> None:
        """Unload an adapter.

        Raises:
            TwinError: the server does not answer, or does not have it.
        """
        adapter_routes.unload_adapter(self._url, self._key, name=name)

    def find_loaded(self, checkpoints: Iterable[str], *, author: str = "") -> list[str]:
        """Return the names of the checkpoints' adapters, and of all adapters of an author.

        Raises:
            TwinError: the server does not answer.
        """
        suffixes = tuple(f"-{checkpoint[:8]}" for checkpoint in checkpoints)
        return [
            name
            for name, model in sorted(self.list_models().items())
            if model.is_adapter
            and (name.endswith(suffixes) or (author and name.startswith(f"{author}/v")))
        ]

    @contextmanager
    def keep_adapter_loaded(self, name: str, folder: Path | None) -> Generator[None]:
        """Load an adapter for the duration of the context, and unload it unless it is released.

        A gate asks a candidate in two such contexts at once: the last one of this process unloads.

        Raises:
            TwinError: the server does not answer, or refuses to load it.
        """
        user = (self._url, name)
        with _USERS_LOCK:
            if name not in self.list_models():
                self.load(name, folder)
            _USERS[user] += 1
        try:
            yield
        finally:
            with _USERS_LOCK:
                _USERS[user] -= 1
                path = self._settings.policy_path
                policy = read_policy(path) if path.exists() else None
                released_names = {released for released, _ in required_adapters(policy).values()}
                if folder is not None and name not in released_names and not _USERS[user]:
                    # The answers are complete and must not be lost if unloading fails.
                    with suppress(TwinError):
                        self.unload(name)


class FleetAdapters:
    """The adapters that the fleet keeps loaded for the versions in use."""

    def __init__(self, settings: Settings, *, log: Callable[[str], None]) -> None:
        self._server = AdapterServer(settings)
        self._log = log
        self._required: set[str] = set()
        self._unused_since: dict[str, float] = {}
        self._problems: dict[str, str] = {}

    def step(
        self, required: Mapping[str, Path | None], now: float
    ) -> tuple[dict[str, OfferedModel], dict[str, str]]:
        """Load what is missing, and unload what has not been required for `UNLOAD_DELAY_S`.

        Args:
            required: PEFT folder by name; None if the server's operator loads the adapter.
            now: reading of a monotonic clock in seconds.

        Returns:
            The models that the server now offers by name, and why each other one could not be
            loaded.

        Raises:
            TwinError: the server does not answer.
        """
        offered, problems = self._server.list_models(), dict[str, str]()
        for name, folder in required.items():
            if name in offered:
                continue
            try:
                self._server.load(name, folder)
                offered = self._server.list_models()
                self._log(f"{name} is loaded")
            except TwinError as error:
                problems[name] = str(error)
                if self._problems.get(name) != str(error):
                    self._log(f"{name} cannot be served. {error}")
        self._problems = problems
        self._unused_since |= dict.fromkeys(self._required - required.keys(), now)
        self._required = set(required)
        for name in [name for name in self._unused_since if name in required]:
            del self._unused_since[name]
        for name, since in list(self._unused_since.items()):
            if now - since < UNLOAD_DELAY_S:
                continue
            try:
                if name in offered:
                    self._server.unload(name)
                    del offered[name]
                    self._log(f"{name} is unloaded")
                del self._unused_since[name]
            except TwinError as error:
                self._unused_since[name] = now  # later; a loaded adapter does no harm
                self._log(f"{name} could not be unloaded. {error}")
        return offered, problems
