"""A host follows what others change in the state store that it shares: authors, releases, weights.

Scope: one look, what it fetches, and why this home is behind. Out of scope: the rows
(`registry/shared_files.py`), fetching a folder (`storage/shared_folders.py`), what is served
(`serving/fleet.py`, the gateway: both follow files of the home as ever).
"""
# pyright: strict

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError
from twin_resources.registry.policy import (
    AuthorPolicy,
    Policy,
    ServedVersion,
    build_policy,
    same_policy,
)
from twin_resources.registry.registry import Registry
from twin_resources.registry.shared_files import (
    Mark,
    follow_files,
    is_shared,
    mark_of,
    stored_files,
)
from twin_resources.settings import Settings
from twin_resources.storage.shared_folders import SharedFolders
from twin_resources.storage.state.state import State
from twin_resources.storage.weights.weights import RECORD, embedder_folder, prepared_folder

LOOK_S = 0.5
AGAIN_S = 5.0  # after something could not be followed


class Follower:
    """What one process knows of the shared stores.

    Attributes:
        behind: why this home is not up to the state store; empty: it is, or the store is away.
        note: what a person should see to while answers go on.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.behind = "the state store was not read yet"
        self.note = ""
        self._settings = settings
        self._clock = clock
        self._state: State | None = None
        self._mark: Mark = ()
        self._again_at = float("-inf")

    def step(self) -> None:
        """Look once: one query while nothing has changed."""
        if self._clock() < self._again_at:
            return
        before = (self.behind, self.note)
        try:
            self._state = self._state or State.open(self._settings.state_address)
            mark, notes = mark_of(self._state), list[str]()
            if mark != self._mark:
                self.behind = "a change in the state store is being followed"
                notes = self._follow(self._state)
                self._mark = () if notes else mark  # looked at again until it is seen to
            self.behind, self.note = "", "; ".join(notes)
        except _Behind as error:
            self.behind = str(error)
        except TwinError as error:
            self.behind, self.note = "", f"what was followed last goes on: {error.found}"
        if self.behind or self.note:
            self._again_at = self._clock() + AGAIN_S
        if (self.behind, self.note) != before:
            self._say(self.behind or self.note or "up to date")

    def run(self, stop: threading.Event) -> None:
        """Look every half second until `stop` is set."""
        while not stop.wait(LOOK_S):
            try:
                self.step()
            except Exception as error:  # noqa: BLE001 - the next look tries again; the log says so
                self._say(f"{type(error).__name__}: {error}")

    def _follow(self, state: State) -> list[str]:
        """Files, then weights, then the policy that names them; returns what to see to.

        Raises:
            _Behind: something could not be fetched; the rest is followed all the same.
        """
        settings = self._settings
        notes = follow_files(settings.home, stored_files(state))
        registry = Registry(state, policy_path=settings.policy_path)
        policy = build_policy(registry, registry.routing())
        missing = fetch_versions(settings, policy)
        if not same_policy(settings.policy_path, policy):
            registry.publish()  # as it is by now, under the writers' lock
        if missing:
            raise _Behind("; ".join(missing))
        return notes

    def _say(self, line: str) -> None:
        sys.stderr.write(f"follows the state store: {line}\n")


class _Behind(Exception):
    """What keeps this home from being up to the state store."""


def follower_of(settings: Settings) -> Follower | None:
    """None: no other host shares the state store, and nothing is polled."""
    return Follower(settings) if is_shared(settings) else None


def share_weights(settings: Settings, *paths: str | None) -> list[str]:
    """Store what lies at these paths of the home, and the embedder, for other hosts.

    Args:
        paths: of a version: folder, adapter, GGUF file of the base; those outside the home and
            None are left out.

    Returns:
        Names of the folders that were not stored before; none without `TWIN_STORE_URI`.

    Raises:
        TwinError: the store cannot be written.
    """
    if not settings.store_uri:
        return []
    folders = SharedFolders(settings.home, settings.store_uri)
    embedder = embedder_folder(settings)
    current = embedder / "current.json"
    if current.exists():
        paths = (*paths, str(embedder / json.loads(current.read_text("utf-8"))["revision"]))
    return [
        name
        for name in sorted(set(_names(settings, paths)))
        if (settings.home / name).is_dir() and _put(folders, name)
    ]


def share_versions(settings: Settings, registry: Registry) -> list[str]:
    """Store what lies in this home of every version that may answer; returns what was not stored.

    For versions that were registered before `TWIN_STORE_URI` was set: their rows name the paths of
    this host, and then the home.

    Raises:
        TwinError: the store cannot be written.
    """
    stored: list[str] = []
    for author in registry.authors():
        for item in registry.versions(author):
            if not item.tainted:
                paths = (item.folder, item.adapter_gguf, item.base_gguf)
                stored += share_weights(settings, *paths)
                registry.name_home(item)
    return stored


def fetch_versions(settings: Settings, policy: Policy) -> list[str]:
    """Fetch base model, embedder and the versions in use; returns a line for each that failed."""
    missing: list[str] = []
    folders = SharedFolders(settings.home, settings.store_uri)
    if settings.store_uri:
        missing += _tried(lambda: _fetch_prepared(settings, folders))
    for author, entry in policy.authors.items():
        for served in _in_use(entry):
            paths = (served.folder, served.adapter_gguf, served.base_gguf)
            for name in sorted(set(_names(settings, paths))):
                if (settings.home / name).exists():
                    continue
                if not settings.store_uri:
                    missing.append(
                        f"v{served.version} of {author} needs {name}, which is not on this host: "
                        "set TWIN_STORE_URI, here and where it was trained"
                    )
                else:
                    missing += _tried(lambda name=name: folders.fetch(name))
    return missing


def _fetch_prepared(settings: Settings, folders: SharedFolders) -> None:
    """Base model and embedder of the settings, where they are not prepared on this host.

    Raises:
        TwinError: they cannot be fetched, or the store has several revisions of the embedder.
    """
    base, embedder = prepared_folder(settings), embedder_folder(settings)
    if not any(base.glob(f"*/{RECORD}")):
        for name in folders.names(base.relative_to(settings.home).as_posix()):
            folders.fetch(name)
    if (embedder / "current.json").exists():
        return
    names = folders.names(embedder.relative_to(settings.home).as_posix())
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


def _in_use(entry: AuthorPolicy) -> Iterator[ServedVersion]:
    return (served for served in (entry.stable, entry.canary) if served is not None)


def _names(settings: Settings, paths: tuple[str | None, ...]) -> Iterator[str]:
    """`checkpoints/<author>/<hash>` and `weights/<model>/<revision>` of paths in the home."""
    for path in paths:
        if path and Path(path).is_relative_to(settings.home):
            yield "/".join(Path(path).relative_to(settings.home).parts[:3])


def _put(folders: SharedFolders, name: str) -> bool:
    """A prepared base model is stored whole: its record may name a folder outside of the home."""
    folder = folders.home / name
    record = folder / RECORD
    if not record.exists():
        return folders.put(name)
    document = json.loads(record.read_text(encoding="utf-8"))
    model = folder / document["folder"]  # an absolute folder wins over the parent
    files = {path.name: path for path in folder.iterdir() if path.is_file()}
    files |= {f"model/{path.name}": path for path in model.iterdir() if path.is_file()}
    # elsewhere the model is known by its name alone, as one of the hub is
    source = document["source"]
    source = f"hub:{document['name']}" if source.startswith("folder:") else source
    portable = folders.home / "work" / f"{folder.name}-{RECORD}"
    replace_file(portable, json.dumps(document | {"folder": "model", "source": source}, indent=2))
    try:
        return folders.put(name, files | {RECORD: portable})
    finally:
        portable.unlink()


def _tried(work: Callable[[], object]) -> list[str]:
    try:
        work()
    except TwinError as error:
        return [f"{error.tried}: {error.found}"]
    return []
