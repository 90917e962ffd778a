"""Read and change `home.json`, in which a home remembers what it has, apart from what may be lost.

A store, a file of keys or a database that is lost looks like one that was never there. This file
tells them apart: what it names must exist, and what it counts must not be fewer.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError

MARKER_NAME = "home.json"


@dataclass(frozen=True)
class HomeMarker:
    """What a home remembers.

    Attributes:
        state: identity of its state store; empty before there is one.
        has_secrets: whether it has had a `secrets.json`.
        erasures: number of the last request to erase something. It only grows, so a state store
            with a lower one is an older copy, which would accept erased posts again.
        databases: path within the home → identity of the SQLite file (`known_databases.py`).
    """

    state: str = ""
    has_secrets: bool = False
    erasures: int = 0
    databases: Mapping[str, int] = field(default_factory=dict[str, int])

    __pydantic_config__ = ConfigDict(extra="forbid")


_MARKER_ADAPTER = TypeAdapter(HomeMarker)


def read_marker(home: Path) -> HomeMarker:
    """Return what a home remembers; a new home remembers nothing.

    Raises:
        TwinError: `home.json` cannot be read.
    """
    path = home / MARKER_NAME
    try:
        return _MARKER_ADAPTER.validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return HomeMarker()
    except (ValueError, OSError) as error:
        raise TwinError(
            f"read {path}",
            found="it does not say what this home has",
            next_step="if `twin versions` and `twin keys list` show what they should after you "
            "have deleted the file, it is written again; else restore the last backup",
        ) from error


def change_marker(home: Path, change: Callable[[HomeMarker], HomeMarker]) -> HomeMarker:
    """Replace what a home remembers, one process at a time; return the new value.

    Args:
        change: returns the new value for the current one.

    Raises:
        TwinError: `home.json` cannot be read.
        OSError: it cannot be written.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / f"{MARKER_NAME}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marker = read_marker(home)
        changed_marker = change(marker)
        if changed_marker != marker:
            replace_file(home / MARKER_NAME, json.dumps(asdict(changed_marker)) + "\n")
    return changed_marker
