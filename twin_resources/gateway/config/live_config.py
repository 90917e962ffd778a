"""Reload the policy, the servers and the authors when their files change, without a restart.

A file whose time or size changed is read again; if that fails, its last valid value stays in use,
and the problem is told. Writers replace each file by a rename, so a read sees either the old or the
new content, never a mixture.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from twin_resources.atomic_writes import read_status
from twin_resources.authors import Author, read_author
from twin_resources.authors.pausing import PAUSE_SUFFIX, read_pause
from twin_resources.errors import TwinError, check_schema
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.registry.policy import AuthorPolicy, Policy, read_policy
from twin_resources.router.policy_file import RoutingPolicy, policy_path, read_routing_policy
from twin_resources.settings import Settings

POLL_SECONDS = 0.5
SERVERS_SCHEMA_VERSION = 1
_FileStamp = tuple[int, int, int]
_UNREAD: _FileStamp = (0, 0, 0)


@dataclass
class _WatchedFile:
    """One watched file: its last valid value, and the problem if its current content is invalid."""

    path: Path
    read: Callable[[Path], Any]
    value: Any = None
    problem: str = ""
    stamp: _FileStamp | None = _UNREAD

    def refresh(self, name: str) -> bool:
        """Read the file again if it has changed; return whether `value` or `problem` may differ."""
        stamp = _file_stamp(self.path)
        if stamp == self.stamp:
            return False
        self.stamp = stamp
        if stamp is None:
            has_changed = bool(self.problem) or self.value is not None
            self.value, self.problem = None, ""
            return has_changed
        try:
            self.value, self.problem = self.read(self.path), ""
        except (TwinError, OSError, ValueError, KeyError, TypeError) as error:
            consequence = (
                "its last valid content is used" if self.value is not None else "it is not used"
            )
            self.problem = f"{name} unreadable ({type(error).__name__}): {consequence}"
        return True


@dataclass
class LiveConfig:
    """The watched files of one home; `current` is replaced and never modified.

    Attributes:
        settings: settings of the home.
        current: the snapshot of the last refresh; a request reads it once and keeps it.
        stopped_canaries: server keys of canaries that receive no more requests, even if the policy
            file still lists them.
    """

    settings: Settings
    current: Snapshot = field(
        default_factory=lambda: Snapshot(authors={}, policy=None, servers={}), init=False
    )
    stopped_canaries: set[str] = field(default_factory=set[str], init=False)
    _files: dict[str, _WatchedFile] = field(default_factory=dict[str, _WatchedFile], init=False)
    _pause_reasons: dict[str, str] = field(default_factory=dict[str, str], init=False)

    def refresh(self) -> bool:
        """Check every file once (about 10 µs each); return whether `current` was replaced."""
        settings = self.settings
        files: dict[str, tuple[Path, Callable[[Path], Any]]] = {
            "policy": (settings.policy_path, read_policy),
            "servers": (settings.servers_path, read_servers),
        }
        for path in settings.authors_dir.glob("*.toml"):
            slug = path.stem
            files[f"author {slug}"] = (path, lambda path: read_author(settings, path.stem))
            if settings.has_paid_route:  # only such a home needs it
                routing_path = policy_path(settings.home, slug)
                files[f"routing policy {slug}"] = (routing_path, read_routing_policy)
        has_changed = bool(self._files.keys() - files.keys())
        self._files = {
            name: self._files.get(name) or _WatchedFile(path, read)
            for name, (path, read) in files.items()
        }
        for name, file in self._files.items():
            is_new_value = file.refresh(name)
            has_changed |= is_new_value
            if name == "policy" and is_new_value and file.value is not None:
                # Once the policy no longer lists a stopped canary, its version may become a
                # canary again.
                self.stopped_canaries &= {_canary_key(*item) for item in file.value.authors.items()}
        pauses = settings.authors_dir.glob(f"*{PAUSE_SUFFIX}")
        reasons = {path.stem: reason for path in pauses if (reason := read_pause(path))}
        has_changed |= reasons != self._pause_reasons
        self._pause_reasons = reasons
        if has_changed:
            self.current = self._create_snapshot()
        return has_changed

    def stop_canary(self, server_key: str) -> None:
        """Stop sending requests to this canary; the registry is updated later."""
        self.stopped_canaries.add(server_key)
        self.current = self._create_snapshot()

    def _remove_stopped_canaries(self, policy: Policy | None) -> Policy | None:
        if policy is None or not self.stopped_canaries:
            return policy
        authors = {
            slug: replace(entry, canary=None, weights={"stable": 1.0})
            if _canary_key(slug, entry) in self.stopped_canaries
            else entry
            for slug, entry in policy.authors.items()
        }
        return replace(policy, authors=authors)

    def _effective_policy(self, servers: Mapping[str, Server]) -> Policy | None:
        """Return the newest policy, except for authors whose new stable version is not ready.

        Such an author keeps the previous entry while the server of that version is ready.
        """
        new_policy: Policy | None = self._files["policy"].value if self._files else None
        previous_policy = self.current.policy
        if new_policy is None or previous_policy is None:
            return new_policy
        authors = {
            slug: previous_policy.authors[slug]
            if slug in previous_policy.authors
            and entry.stable is not None
            and not _is_ready(entry, slug, servers)
            and _is_ready(previous_policy.authors[slug], slug, servers)
            else entry
            for slug, entry in new_policy.authors.items()
        }
        return replace(new_policy, authors=authors)

    def _create_snapshot(self) -> Snapshot:
        files, authors, routing = self._files, dict[str, Author](), dict[str, RoutingPolicy]()
        author_problems: dict[str, list[str]] = {}
        for name, file in files.items():
            kind, _, slug = name.rpartition(" ")
            if kind and file.problem:
                author_problems.setdefault(slug, []).append(file.problem)
            if kind and file.value is not None:
                (authors if kind == "author" else routing)[slug] = file.value
        shared = [files[name] for name in ("policy", "servers") if name in files]
        servers: dict[str, Server] = (files["servers"].value if files else None) or {}
        return Snapshot(
            authors=authors,
            policy=self._remove_stopped_canaries(self._effective_policy(servers)),
            servers=servers,
            has_paid_route=self.settings.has_paid_route,
            problems=tuple(file.problem for file in shared if file.problem),
            paused=dict(self._pause_reasons),
            author_problems={slug: "; ".join(found) for slug, found in author_problems.items()},
            routing=routing,
        )


def _canary_key(author: str, policy: AuthorPolicy) -> str:
    return f"{author}/v{policy.canary.version}" if policy.canary else ""


def _is_ready(policy: AuthorPolicy, author: str, servers: Mapping[str, Server]) -> bool:
    if policy.stable is None:
        return False
    server = servers.get(f"{author}/v{policy.stable.version}")
    return server is not None and server.ready


def read_servers(path: Path) -> dict[str, Server]:
    """Read `servers.json`, the list that the fleet publishes.

    Raises:
        TwinError: a newer release wrote the file.
        ValueError, KeyError, TypeError: the file has a different structure.
    """
    document: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    check_schema(
        f"read {path}",
        document.get("schema", 0),
        SERVERS_SCHEMA_VERSION,
        next_step="run the gateway and the model servers from the same release",
    )
    servers: dict[str, dict[str, Any]] = dict(document["servers"])
    return {
        name: Server(
            url=str(entry["url"]),
            alias=str(entry["alias"]),
            key=str(entry.get("key") or ""),
            ready=bool(entry.get("ready")),
            engine=str(entry.get("engine") or ""),
            context=int(entry.get("context") or 0),
        )
        for name, entry in servers.items()
    }


def _file_stamp(path: Path) -> _FileStamp | None:
    try:
        status = read_status(path)
    except FileNotFoundError:
        return None
    except OSError:  # a folder or an unreadable file, which `read` then reports
        status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
