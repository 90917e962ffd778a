"""Copy other hosts' changes in the shared state store to this home: authors, releases, weights.

Scope: one poll of the state store, the folders that it fetches, and why this home lags.
Out of scope: the rows (`registry/shared_files.py`), fetching a folder
(`storage/shared_folders.py`), serving (`serving/fleet.py` and the gateway read files of the home).
"""
# pyright: strict

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError
from twin_resources.registry.moves import ModelVersion
from twin_resources.registry.policy import Policy, build_policy, policy_file_matches
from twin_resources.registry.registry import Registry
from twin_resources.registry.shared_files import (
    ChangeToken,
    has_shared_state,
    read_change_token,
    read_stored_files,
    update_files,
)
from twin_resources.settings import Settings
from twin_resources.storage.shared_folders import SharedFolders
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.weights.weights import RECORD_FILE, embedder_folder, prepared_folder

POLL_INTERVAL_S = 0.5
RETRY_DELAY_S = 5.0  # until the next poll after a failure


class Follower:
    """Polls the shared state store and applies its changes to this home, for one process.

    Attributes:
        lag_reason: why this home lags the state store; empty if it is current or the store is down.
        problems: problems for the operator to resolve. The home keeps answering.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.lag_reason = "the state store has not been read yet"
        self.problems = ""
        self._settings = settings
        self._clock = clock
        self._state: State | None = None
        self._change_token: ChangeToken = ()
        self._retry_at = float("-inf")

    def poll_once(self) -> None:
        """Poll once; a poll without changes costs one query."""
        if self._clock() < self._retry_at:
            return
        previous_status = (self.lag_reason, self.problems)
        try:
            self._state = self._state or open_home_state(self._settings)
            change_token, notes = read_change_token(self._state), list[str]()
            if change_token != self._change_token:
                self.lag_reason = "a change in the state store is being applied"
                notes = self._synchronize(self._state)
                # Without a token, the next poll reads again until the notes are resolved.
                self._change_token = () if notes else change_token
            self.lag_reason, self.problems = "", "; ".join(notes)
        except _HomeLagError as error:
            self.lag_reason = str(error)
        except TwinError as error:
            self.lag_reason = ""
            self.problems = f"the state that was read last stays in use: {error.found}"
        if self.lag_reason or self.problems:
            self._retry_at = self._clock() + RETRY_DELAY_S
        if (self.lag_reason, self.problems) != previous_status:
            self._log(self.lag_reason or self.problems or "up to date")

    def run(self, stop: threading.Event) -> None:
        """Poll every half second until `stop` is set."""
        while not stop.wait(POLL_INTERVAL_S):
            try:
                self.poll_once()
            except Exception as error:  # noqa: BLE001 - logged; the next poll tries again
                self._log(f"{type(error).__name__}: {error}")

    def _synchronize(self, state: State) -> list[str]:
        """Copy files, then weights, then the policy that names them; return notes for the operator.

        Raises:
            _HomeLagError: a folder could not be fetched. The others were copied.
        """
        settings = self._settings
        notes = update_files(settings.home, read_stored_files(state))
        registry = Registry(state, policy_path=settings.policy_path)
        policy = build_policy(registry, registry.routing())
        failures = fetch_versions(settings, policy)
        if not policy_file_matches(settings.policy_path, policy):
            registry.publish()  # reads the registry again under the writers' lock
        if failures:
            raise _HomeLagError("; ".join(failures))
        return notes

    def _log(self, line: str) -> None:
        sys.stderr.write(f"following the state store: {line}\n")


class _HomeLagError(Exception):
    """This home lags behind the state store; the message states the cause."""


def create_follower(settings: Settings) -> Follower | None:
    """Return a follower, or None if no other host shares the state store."""
    return Follower(settings) if has_shared_state(settings) else None


def prepare_run(settings: Settings, author: str) -> None:
    """Copy what a run needs from other hosts to this home, which may be empty.

    These are the author files, the policy, the base model and the embedder. All versions of the
    run's author are fetched too, because training compares its inputs with theirs. If no other host
    shares the state store, this function does nothing.

    Args:
        author: slug of the run's author, or empty.

    Raises:
        TwinError: a folder could not be fetched, or the state store cannot be read.
    """
    if not has_shared_state(settings):
        return
    follower = Follower(settings)
    follower.poll_once()
    failures = [follower.lag_reason] if follower.lag_reason else []
    if author and settings.store_uri:
        with closing(open_home_state(settings)) as state:
            versions = Registry(state, policy_path=settings.policy_path).versions(author)
        versions = [version for version in versions if not version.tainted]
        for version in versions:
            failures += _collect_failures(lambda version=version: fetch_version(settings, version))
    if failures:
        raise TwinError(
            "prepare this host for the run",
            found="; ".join(failures),
            next_step="set the same TWIN_STORE_URI on every host, and run `twin authors apply` "
            "on the host that has the folder",
        )


def fetch_version(settings: Settings, version: ModelVersion) -> None:
    """Fetch a version's checkpoint and base model from `TWIN_STORE_URI`, if this host lacks them.

    Raises:
        TwinError: a folder is not stored, or the store cannot be read.
    """
    folders = SharedFolders(settings.home, settings.store_uri)
    paths = (version.folder, version.adapter_gguf, version.base_gguf)
    for name in sorted(set(_folder_names(settings, paths))):
        folders.fetch(name)


def share_weights(settings: Settings, *paths: str | None) -> list[str]:
    """Store the folders of these paths, and the embedder, for other hosts.

    Args:
        paths: a version's folder, adapter and base GGUF file; None and paths outside the home are
            ignored.

    Returns:
        The names of the newly stored folders; empty without `TWIN_STORE_URI`.

    Raises:
        TwinError: the store cannot be written.
    """
    if not settings.store_uri:
        return []
    folders = SharedFolders(settings.home, settings.store_uri)
    embedder = embedder_folder(settings)
    pointer = embedder / "current.json"
    if pointer.exists():
        paths = (*paths, str(embedder / json.loads(pointer.read_text("utf-8"))["revision"]))
    return [
        name
        for name in sorted(set(_folder_names(settings, paths)))
        if (settings.home / name).is_dir() and _store_folder(folders, name)
    ]


def share_versions(settings: Settings, registry: Registry) -> list[str]:
    """Store the prepared base model and embedder, and the folders of every version that may answer.

    This covers versions that were registered before `TWIN_STORE_URI` was set. Their rows contain
    this host's paths, which this function makes relative to the home.

    Returns:
        The names of the newly stored folders.

    Raises:
        TwinError: the store cannot be written.
    """
    base_records = prepared_folder(settings).glob(f"*/{RECORD_FILE}")
    stored_names = share_weights(settings, *(str(record.parent) for record in base_records))
    for author in registry.authors():
        for version in registry.versions(author):
            if not version.tainted:
                paths = (version.folder, version.adapter_gguf, version.base_gguf)
                stored_names += share_weights(settings, *paths)
                registry.make_paths_relative(version)
    return stored_names


def fetch_versions(settings: Settings, policy: Policy) -> list[str]:
    """Fetch the base model, the embedder and the served versions; return a line per failure."""
    failures: list[str] = []
    folders = SharedFolders(settings.home, settings.store_uri)
    if settings.store_uri:
        failures += _collect_failures(lambda: _fetch_base_and_embedder(settings, folders))
    for author, entry in policy.authors.items():
        for version in filter(None, (entry.stable, entry.canary)):
            paths = (version.folder, version.adapter_gguf, version.base_gguf)
            for name in sorted(set(_folder_names(settings, paths))):
                if (settings.home / name).exists():
                    continue
                if not settings.store_uri:
                    failures.append(
                        f"v{version.version} of {author} needs {name}, which is not on this host: "
                        "set TWIN_STORE_URI here and on the host that trained it"
                    )
                else:
                    failures += _collect_failures(lambda name=name: folders.fetch(name))
    return failures


def _fetch_base_and_embedder(settings: Settings, folders: SharedFolders) -> None:
    """Fetch the configured base model and embedder, unless they are prepared on this host.

    Raises:
        TwinError: they cannot be fetched, or the store has several revisions of the embedder.
    """
    base, embedder = prepared_folder(settings), embedder_folder(settings)
    if not any(base.glob(f"*/{RECORD_FILE}")):
        for name in folders.list_folders(base.relative_to(settings.home).as_posix()):
            folders.fetch(name)
    if (embedder / "current.json").exists():
        return
    names = folders.list_folders(embedder.relative_to(settings.home).as_posix())
    if len(names) > 1:
        raise TwinError(
            f"fetch the embedder {settings.embedder}",
            found=f"several revisions in {settings.store_uri}: {', '.join(names)}",
            next_step="run `python -m twin_resources.models.embedder prepare` on this host",
        )
    for name in names:
        folders.fetch(name)
        pointer = {"revision": name.rpartition("/")[2]}
        replace_file(embedder / "current.json", json.dumps(pointer))


def _folder_names(settings: Settings, paths: tuple[str | None, ...]) -> Iterator[str]:
    """Yield `checkpoints/<author>/<hash>` or `weights/<model>/<revision>` of paths in the home."""
    for path in paths:
        if path and Path(path).is_relative_to(settings.home):
            yield "/".join(Path(path).relative_to(settings.home).parts[:3])


def _store_folder(folders: SharedFolders, name: str) -> bool:
    """Store a folder. For a base model, include the files outside the home that it refers to."""
    folder = folders.home / name
    record = folder / RECORD_FILE
    if not record.exists():
        return folders.store(name)
    document = json.loads(record.read_text(encoding="utf-8"))
    model = folder / document["folder"]  # an absolute folder overrides the parent
    files = {path.name: path for path in folder.iterdir() if path.is_file()}
    files |= {f"model/{path.name}": path for path in model.iterdir() if path.is_file()}
    # On other hosts, only the name identifies the model, like a hub model.
    source = document["source"]
    source = f"hub:{document['name']}" if source.startswith("folder:") else source
    portable_record = folders.home / "work" / f"{folder.name}-{RECORD_FILE}"
    replace_file(
        portable_record, json.dumps(document | {"folder": "model", "source": source}, indent=2)
    )
    try:
        return folders.store(name, files | {RECORD_FILE: portable_record})
    finally:
        portable_record.unlink()


def _collect_failures(function: Callable[[], object]) -> list[str]:
    """Call a function; return its TwinError as a list of one line, or an empty list."""
    try:
        function()
    except TwinError as error:
        return [f"{error.tried}: {error.found}"]
    return []
