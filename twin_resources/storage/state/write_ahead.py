"""Enable SQLite's write-ahead log, even if several processes do so at the same time.

Scope: the pragma `journal_mode`, for which SQLite does not wait.
Out of scope: the other pragmas of a store, which its own module sets.
Method: https://www.sqlite.org/wal.html. The switch needs exclusive access to the file, and SQLite
calls no busy handler for it (https://www.sqlite.org/c3ref/busy_handler.html).
"""
# pyright: strict

from __future__ import annotations

import sqlite3
import time

_PAUSE_S = 0.02


def enable_write_ahead_log(connection: sqlite3.Connection, *, timeout_s: float) -> None:
    """Switch a file to the write-ahead log, unless it already uses one.

    Args:
        connection: a connection outside a transaction.
        timeout_s: the seconds to wait for other processes that open the same new file.

    Raises:
        sqlite3.OperationalError: another process locked the file throughout, or it is not writable.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
