"""Test that rows of SQLite files are erased, even if compressed, and that errors are raised."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path

import pytest

from tests.erasure_targets import post_target
from twin_resources.erasure import sqlite_files
from twin_resources.erasure.sqlite_files import (
    delete_matching_rows,
    open_for_erasure,
    rewrite_database,
)
from twin_resources.errors import TwinError
from twin_resources.storage.storage_faults import DamagedError

NAME = "2019/the-walk-of-march.md"
ERASED_POST = post_target("ada", NAME)


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a, b)")
        rows = [
            (NAME, 1),
            (None, gzip.compress(json.dumps({"x": [NAME]}).encode())),
            (2.5, json.dumps({"y": f"see {NAME}."})),
            ("2019/another-walk.md", b"another"),
            (None, None),
        ]
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    connection.close()
    return path


def test_rows_with_plain_compressed_or_json_text_are_deleted(database_path: Path) -> None:
    with open_for_erasure(database_path) as connection:
        assert delete_matching_rows(connection, "t", ERASED_POST) == 3
        assert delete_matching_rows(connection, "t", ERASED_POST) == 0
        remaining = connection.execute("SELECT a, b FROM t").fetchall()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    assert remaining == [("2019/another-walk.md", b"another"), (None, None)]
    rewrite_database(database_path)
    assert NAME.encode() not in database_path.read_bytes()


def test_a_database_blocked_by_a_reader_is_an_error_after_a_wait(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, "BUSY_TIMEOUT_S", 0.3)
    with open_for_erasure(database_path) as connection:
        connection.execute("INSERT INTO t VALUES (1, 1)")
    reader = sqlite3.connect(database_path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchone()
    with pytest.raises(TwinError, match="`twin forget` again"):
        rewrite_database(database_path)
    reader.close()
    rewrite_database(database_path)


def test_a_failed_write_is_an_error(database_path: Path, tmp_path: Path) -> None:
    expected_error = pytest.raises(TwinError, match=r"erase rows in .*no such table: nothing")
    with expected_error, open_for_erasure(database_path) as connection:
        delete_matching_rows(connection, "nothing", ERASED_POST)
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"this is not a database" * 500)
    with pytest.raises(DamagedError), open_for_erasure(broken) as connection:
        delete_matching_rows(connection, "t", ERASED_POST)
