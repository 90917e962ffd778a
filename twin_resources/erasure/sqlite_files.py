"""Remove data from a SQLite file permanently: delete rows, zero free pages, and empty the log.

Scope: deleting rows by their content, `VACUUM`, the write-ahead log.
Out of scope: choosing the files, the meaning of their rows (the stores).
Method: https://www.sqlite.org/pragma.html#pragma_secure_delete and
https://www.sqlite.org/lang_vacuum.html. Without both, a deleted row stays readable in free pages
and in the log.
"""
# pyright: strict

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twin_resources.erasure.decoding import decode_bytes
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.errors import TwinError
from twin_resources.storage.storage_faults import translate_storage_errors
from twin_resources.wait_limits import MAX_IDLE_S

BUSY_TIMEOUT_S = MAX_IDLE_S


@contextmanager
def open_for_erasure(path: Path) -> Generator[sqlite3.Connection]:
    """Open a connection that overwrites deleted content.

    Raises:
        TwinError: the file is busy for three minutes, or cannot be written (`StorageError`).
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)
    action = f"erase rows in {path}"
    try:
        with translate_storage_errors(action, path):
            connection.execute("PRAGMA secure_delete = ON")
            yield connection
    except sqlite3.Error as error:
        raise TwinError(
            action,
            found=str(error),
            next_step="run `twin forget` again when nothing uses the file: it continues from here",
        ) from error
    finally:
        connection.close()


def delete_matching_rows(connection: sqlite3.Connection, table: str, target: ErasureTarget) -> int:
    """Delete the rows that contain the target, even in compressed values; return their number."""
    rows = connection.execute(f'SELECT rowid, * FROM "{table}"')
    matching_ids = [(row[0],) for row in rows if row_contains_target(row[1:], target)]
    connection.executemany(f'DELETE FROM "{table}" WHERE rowid = ?', matching_ids)
    return len(matching_ids)


def row_contains_target(row: tuple[Any, ...], target: ErasureTarget) -> bool:
    """Return whether any value of a row contains the target."""
    return any(
        target.matches_value(
            [text.value for text in decode_bytes(value)] if isinstance(value, bytes) else value
        )
        for value in row
    )


def rewrite_database(path: Path) -> None:
    """Rewrite the file without free pages, and empty its log.

    Raises:
        TwinError: another process blocks the file for three minutes.
    """
    with open_for_erasure(path) as connection:
        connection.execute("VACUUM")
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not is_busy:
                return
            if time.monotonic() > deadline:
                raise TwinError(
                    f"empty the write-ahead log of {path}",
                    found=f"a reader has blocked it for more than {BUSY_TIMEOUT_S:g} s",
                    next_step="run `twin forget` again in a moment: it continues from here",
                )
            time.sleep(0.1)
