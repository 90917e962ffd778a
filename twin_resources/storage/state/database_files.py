"""Find the SQLite files of a home, check that they are intact, and copy files that are in use.

Scope: operations that do not interpret rows.
Out of scope: the meaning of rows (the modules of the stores).
Method: https://www.sqlite.org/pragma.html#pragma_quick_check, https://www.sqlite.org/backup.html.
The copy is one committed state of the file, and writers do not wait for it.
"""
# pyright: strict

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from twin_resources.storage.storage_faults import DamagedError, translate_storage_errors
from twin_resources.wait_limits import MAX_IDLE_S

_BUSY_TIMEOUT_S = MAX_IDLE_S  # for a check; a copy waits without a limit


def find_databases(folder: Path, *, excluded: Collection[Path] = ()) -> Iterator[Path]:
    """Yield the SQLite files in and below a folder by name, including empty ones.

    Args:
        excluded: the folders to skip.
    """
    for parent, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if Path(parent, name) not in excluded)
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix in {".sqlite", ".db"} and path.is_file():
                yield path


def check_database(path: Path) -> None:
    """Check that the file is intact and can be read and written.

    Raises:
        StorageError: the file is damaged, full, read-only, or locked by another program for three
            minutes.
    """
    action = f"open the database {path}"
    with open_database(path, action) as connection:
        check_result = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if check_result != "ok":
            raise DamagedError.for_place(path, action, check_result)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def copy_database(path: Path, copy_path: Path) -> None:
    """Write one committed state of the database to another file, and check the copy.

    Raises:
        StorageError: the file is damaged or cannot be read, or there is no space for the copy.
    """
    action = f"copy the database {path}"
    with (
        open_database(path, action) as connection,
        translate_storage_errors(action, copy_path),
        closing(sqlite3.connect(copy_path)) as copy,
    ):
        connection.backup(copy)
        check_result = str(copy.execute("PRAGMA integrity_check(1)").fetchone()[0])
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a separate log
    if check_result != "ok":
        raise DamagedError.for_place(path, action, check_result)


@contextmanager
def open_database(path: Path, action: str) -> Generator[sqlite3.Connection]:
    """Open an existing SQLite file in autocommit mode; errors name the file and the action."""
    with translate_storage_errors(action, path):
        address = f"{path.resolve().as_uri()}?mode=rw"  # never creates a file
        with closing(
            sqlite3.connect(address, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        ) as connection:
            yield connection
