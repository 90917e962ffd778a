"""Remember the SQLite files of a home, so that one that was lost and made anew is recognized.

A program makes its database anew when it starts without one. SQLite keeps a number for
applications in a file's header (https://www.sqlite.org/pragma.html#pragma_application_id), which is
0 in a new file. Each file of a home gets a random one, and `home.json` repeats it. Copies, backups
and `VACUUM` keep it.
"""
# pyright: strict

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from twin_resources.home_marker import HomeMarker, change_marker, read_marker
from twin_resources.settings import Settings
from twin_resources.storage.state.database_files import open_database
from twin_resources.storage.storage_faults import DamagedError, translate_storage_errors

# Each by its path within the home, and what it holds. The state store has its own identity.
DATABASE_CONTENTS = {
    "traces.sqlite": "answers, votes and scores",
    "host/outbox.sqlite": "votes and answers that waited, and marks of erased answers",
    "dagster/history/runs.db": "Dagster's runs",
    "dagster/history/runs/index.db": "Dagster's history of assets and checks",
    "dagster/schedules/schedules.db": "what Dagster's sensors and schedules have done",
}


@dataclass(frozen=True)
class LostDatabase:
    """A SQLite file that this home had, and that is missing, empty or another file now."""

    path: Path
    contents: str
    state: str

    def __str__(self) -> str:
        return f"{self.path} is {self.state}, although this home had it: {self.contents} are lost"


def remember_databases(settings: Settings) -> list[LostDatabase]:
    """Give each SQLite file of the home that has none an identity, and remember it.

    Returns:
        The files that were remembered already and are lost; they stay remembered.

    Raises:
        StorageError: a file is locked or read-only, or the disk is full.
    """
    known_identities = read_marker(settings.home).databases
    new_identities: dict[str, int] = {}
    for name in DATABASE_CONTENTS.keys() - known_identities.keys():
        path = settings.home / name
        if path.is_file() and path.stat().st_size:
            with suppress(DamagedError):  # `check_database` says so
                new_identities[name] = _read_identity(path) or _give_identity(path)
    if new_identities:

        def add_identities(marker: HomeMarker) -> HomeMarker:
            return replace(marker, databases={**new_identities, **marker.databases})

        with translate_storage_errors("remember what this home has", settings.home):
            change_marker(settings.home, add_identities)
    return find_lost_databases(settings)


def find_lost_databases(settings: Settings) -> list[LostDatabase]:
    """Return the remembered SQLite files that are lost, without changing anything.

    A damaged file is not lost: `check_database` says what it is.

    Raises:
        StorageError: a file is locked or cannot be read.
    """
    lost_databases: list[LostDatabase] = []
    for name, identity in sorted(read_marker(settings.home).databases.items()):
        path, state = settings.home / name, ""
        if not path.is_file():
            state = "missing"
        elif not path.stat().st_size:
            state = "empty"
        else:
            with suppress(DamagedError):
                state = "" if _read_identity(path) == identity else "a new file"
        if state:
            contents = DATABASE_CONTENTS.get(name, "its rows")
            lost_databases.append(LostDatabase(path, contents, state))
    return lost_databases


def _read_identity(path: Path) -> int:
    with open_database(path, f"open the database {path}") as connection:
        return int(connection.execute("PRAGMA application_id").fetchone()[0])


def _give_identity(path: Path) -> int:
    """Store a random identity, unless another process has just stored one; return it."""
    with open_database(path, f"open the database {path}") as connection:
        connection.execute("BEGIN IMMEDIATE")
        identity = int(connection.execute("PRAGMA application_id").fetchone()[0])
        if not identity:
            identity = 1 + secrets.randbelow(2**31 - 1)
            connection.execute(f"PRAGMA application_id = {identity}")
        connection.execute("COMMIT")
    return identity
