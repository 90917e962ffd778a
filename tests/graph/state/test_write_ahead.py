"""Test that enabling the write-ahead log waits for a locked file, and how it fails."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from twin_resources.storage.state.write_ahead import enable_write_ahead_log


def test_the_switch_waits_for_another_writer(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE held (number INTEGER)")
    holder.execute("BEGIN EXCLUSIVE")
    release_timer = threading.Timer(0.2, lambda: holder.execute("COMMIT"))
    release_timer.start()
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    enable_write_ahead_log(connection, timeout_s=10.0)
    release_timer.join()
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_stays_locked_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "held.sqlite"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE held (number INTEGER)")
    holder.execute("BEGIN EXCLUSIVE")
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        enable_write_ahead_log(connection, timeout_s=0.1)


def test_other_errors_are_raised_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "no-database.sqlite"
    path.write_bytes(b"these are not the pages of a database" * 100)
    connection = sqlite3.connect(path, isolation_level=None)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        enable_write_ahead_log(connection, timeout_s=60.0)
