"""`python -m twin_resources.models.serving.fleet`: run the model servers that the policy requires.

Scope: following the policy, starting a new version beside the old one, publishing the servers that
answer (`servers.json`), draining and stopping servers, restarting crashed servers, and choosing the
adapters for an external server (`TWIN_MODEL_SERVER_URL`).
Out of scope: a single server (`model_server.py`), loading an adapter (`loaded_adapters.py`),
choosing the served version (`registry/`, which writes the policy), routing requests (the gateway).

    servers.json   {"schema": 1, "written_at": …,
                    "servers": {"base" | "<author>/v3": {"url", "alias", "key", "ready", "pid",
                                                         "engine", "context"}},
                    "problems": {"<author>/v3": why it is down}}

The file contains keys, so only its owner can read it (mode 600). Each write replaces it atomically.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twin_resources.atomic_writes import read_status, replace_file
from twin_resources.errors import TwinError
from twin_resources.models.serving.external_server import ExternalMember
from twin_resources.models.serving.fleet_member import (
    FleetMember,
    RequiredServer,
    log,
)
from twin_resources.models.serving.loaded_adapters import (
    FleetAdapters,
    not_offered_error,
    required_adapters,
)
from twin_resources.models.serving.model_server import remote_engine_name
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.registry.policy import Policy, ServedVersion, read_policy
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.weights.weights import load_base_model

SCHEMA_VERSION = 1
BASE = "base"
STEP_INTERVAL_S = 0.25
REMOTE_CHECK_INTERVAL_S = 5.0
BASE_RETRY_INTERVAL_S = 1.0


def version_key(author: str, version: int) -> str:
    """Return the key of a version in `servers.json`, such as `jane/v3`."""
    return f"{author}/v{version}"


def _iter_served_versions(policy: Policy | None) -> Iterator[tuple[str, ServedVersion]]:
    """Yield each author's stable and canary versions with their keys; none before a release."""
    for author, entry in (policy.authors if policy else {}).items():
        for served_version in (entry.stable, entry.canary):
            if served_version is not None:
                yield version_key(author, served_version.version), served_version


def required_servers(policy: Policy | None) -> dict[str, RequiredServer]:
    """Return the servers that the versions in use require, by key."""
    servers: dict[str, RequiredServer] = {}
    for key, served_version in _iter_served_versions(policy):
        adapter = str(served_version.adapter_gguf) if served_version.adapter_gguf else None
        address = served_version.base if served_version.is_elsewhere else ""
        servers[key] = RequiredServer(str(served_version.base_gguf), adapter, address)
    return servers


def _is_same_author(key: str, other_key: str) -> bool:
    """Return whether two keys belong to versions of the same author."""
    return key.rpartition("/")[0] == other_key.rpartition("/")[0]


class Fleet:
    """All model servers of one home."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.members: dict[str, FleetMember] = {}
        self._settings = settings
        self._clock = clock
        self._policy: Policy | None = None
        self._policy_file_identity: tuple[int, int] | None = None
        self._base_server: RequiredServer | None = None
        self._base_checked_at = self._remote_checked_at = float("-inf")
        self._remote_servers: dict[str, RunningServer] = {}
        self._remote_problems: dict[str, str] = {}
        self._adapters = FleetAdapters(settings, log=log)
        self._problems: dict[str, str] = {}
        self._published_document: dict[str, Any] | None = None
        self._published_stamp: tuple[int, int, int] | None = None

    def step(self) -> None:
        """Follow the policy once and publish the changes."""
        self._follow_policy()
        servers = required_servers(self._policy)
        if self._settings.model_server_url:
            self._update_remote_servers()
            servers = {key: server for key, server in servers.items() if server.address}
        self._update_members(servers)
        self._publish()

    def run(self, stop: threading.Event) -> None:
        """Repeat `step` until `stop` is set, then stop every server and publish an empty list."""
        try:
            while not stop.is_set():
                self.step()
                stop.wait(STEP_INTERVAL_S)
        finally:
            for member in self.members.values():
                member.terminate()
            for member in self.members.values():
                member.stop()
            self.members.clear()
            self._remote_servers.clear()
            self._publish()

    def _follow_policy(self) -> None:
        path = self._settings.policy_path
        try:
            status = read_status(path)
        except FileNotFoundError:
            return  # before the first release; an existing policy is never deleted
        file_identity = (status.st_mtime_ns, status.st_ino)
        if file_identity == self._policy_file_identity:
            return
        try:
            self._policy = read_policy(path)
            self._problems.pop(path.name, None)
        except (TwinError, OSError, ValueError, KeyError, TypeError) as error:
            # Running servers are kept, because an unreadable file must not interrupt service.
            self._problems[path.name] = f"{type(error).__name__}: {error}"
            log(f"{path} cannot be read; the last valid policy stays in force. {error}")
        self._policy_file_identity = file_identity

    def _update_members(self, required_members: dict[str, RequiredServer]) -> None:
        now = self._clock()
        if not self._settings.model_server_url:
            if self._base_server is None and now - self._base_checked_at >= BASE_RETRY_INTERVAL_S:
                self._find_base_server(now)
            if self._base_server is not None:
                required_members[BASE] = self._base_server
        for key, server in required_members.items():
            member = self.members.get(key)
            if member is not None and member.required_server != server:
                member.stop()  # two servers cannot share a key
                member = None
            if member is None:
                member_class = ExternalMember if server.address else FleetMember
                self.members[key] = member = member_class(key, server, settings=self._settings)
            member.draining_since = None
            member.step(now)
        for member in [self.members[key] for key in set(self.members) - set(required_members)]:
            if member.draining_since is None:
                # The old version stays published until the author's new versions answer.
                if all(
                    self.members[key].server
                    for key in required_members
                    if _is_same_author(key, member.key)
                ):
                    member.draining_since = now
                else:
                    member.step(now)
            elif member.is_drained(now):
                self.members.pop(member.key).stop()
                log(f"{member.key} has finished its requests and is stopped")

    def _find_base_server(self, now: float) -> None:
        self._base_checked_at = now
        try:
            gguf = load_base_model(self._settings).gguf
            if gguf is None:
                raise TwinError(
                    f"serve the base model {self._settings.base_model}",
                    found="it was prepared without a GGUF file",
                    next_step="set TWIN_MODEL_SERVER_URL to a server that offers it",
                )
        except TwinError as error:
            self._problems[BASE] = str(error)
        else:
            self._base_server = RequiredServer(str(gguf))
            self._problems.pop(BASE, None)

    def _update_remote_servers(self) -> None:
        now = self._clock()
        if now - self._remote_checked_at < REMOTE_CHECK_INTERVAL_S:
            return
        self._remote_checked_at = now
        settings, url = self._settings, self._settings.model_server_url.rstrip("/")
        secret, previous_servers = settings.model_server_key, self._remote_servers
        self._remote_servers, self._remote_problems = {}, {}
        adapters = required_adapters(self._policy)
        names = {BASE: settings.base_model} | {key: name for key, (name, _) in adapters.items()}
        try:
            offered, problems = self._adapters.step(dict(adapters.values()), now)
        except TwinError as error:
            self._remote_problems = dict.fromkeys(names, str(error))
            return
        engine = remote_engine_name(url, secret, settings.model_server_precision)
        for key, name in names.items():
            if name in offered:
                self._remote_servers[key] = RunningServer(
                    url, name, secret, None, engine, offered[name].context
                )
            else:
                problem = problems.get(name) or str(not_offered_error(name, url, offered))
                self._remote_problems[key] = problem
        for key in previous_servers.keys() - names.keys():
            # The old version stays published until the author's new versions answer.
            if previous_servers[key].alias in offered and any(
                _is_same_author(key, other_key) for other_key in self._remote_problems
            ):
                self._remote_servers[key] = previous_servers[key]

    def _publish(self) -> None:
        members = [member for member in self.members.values() if member.draining_since is None]
        servers = {member.key: member.server for member in members if member.server is not None}
        problems = {member.key: member.problem for member in members if member.problem}
        document = {
            "servers": {
                key: {
                    "url": server.url,
                    "alias": server.alias,
                    "key": server.key,
                    "ready": True,
                    "pid": server.pid,
                    "engine": server.engine,
                    # 0: the gateway looks up the base model's context length
                    "context": server.context,
                }
                for key, server in (servers | self._remote_servers).items()
            },
            "problems": problems | self._problems | self._remote_problems,
        }
        path = self._settings.servers_path
        if document != self._published_document or _file_stamp(path) != self._published_stamp:
            write_servers(path, document)
            self._published_document, self._published_stamp = document, _file_stamp(path)


def _file_stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when somebody replaces or empties a file; None without the file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def write_servers(path: Path, document: Mapping[str, Any]) -> None:
    """Replace `servers.json` with a file that only its owner can read."""
    contents = {"schema": SCHEMA_VERSION, "written_at": datetime.now(UTC).isoformat(), **document}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, json.dumps(contents, indent=1))


def main() -> int:
    """Run the fleet of `TWIN_HOME` until SIGTERM or SIGINT arrives."""
    stop = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stop.set())
    settings = load_settings()
    Fleet(settings).run(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
