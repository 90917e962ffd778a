"""Test that only the owner can read the state, the outbox and the traces of a home."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.private_files import database_files, make_private_database, restrict_to_owner
from twin_resources.storage.state.state import State


def open_state(path: Path) -> object:
    state = State.open(f"sqlite:///{path}")
    with state.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (a)")
    return state


WRITER_SCRIPT = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("INSERT INTO t VALUES (2)")
other.close()
"""
OPENERS: dict[str, Callable[[Path], object]] = {
    "state": open_state,
    "outbox": Outbox,
    "traces": TraceTables,
}


@pytest.fixture(autouse=True)
def permissive_umask() -> Iterator[None]:
    """Set the usual umask of a shell, which lets every user read new files."""
    previous = os.umask(0o022)
    yield
    os.umask(previous)


def file_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def database_modes(path: Path) -> dict[str, int]:
    return {
        database_file.name: file_mode(database_file)
        for database_file in database_files(path)
        if database_file.exists()
    }


@pytest.mark.parametrize("name", OPENERS)
def test_a_new_database_and_its_log_files_are_private(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.sqlite"
    handle = OPENERS[name](path)
    file_modes = database_modes(path)
    assert {f"{name}.sqlite", f"{name}.sqlite-wal", f"{name}.sqlite-shm"} <= set(file_modes)
    assert set(file_modes.values()) == {0o600}
    assert handle


@pytest.mark.parametrize("name", OPENERS)
def test_a_readable_database_becomes_private_while_it_is_in_use(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE another (a)")
    connection.commit()
    assert set(database_modes(path).values()) == {0o644}
    handle = OPENERS[name](path)
    assert set(database_modes(path).values()) == {0o600}
    assert connection.execute("SELECT count(*) FROM another").fetchone() == (0,)
    connection.close()
    assert handle


def test_opening_keeps_the_locks_of_the_same_process(tmp_path: Path) -> None:
    """Closing a file releases all locks of the process on it. Another process would then assume
    that it is the last user of the database, and delete the log that is in use here.
    """
    path = tmp_path / "state.sqlite"
    open_state(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("INSERT INTO t VALUES (1)")
    make_private_database(path)
    subprocess.run([sys.executable, "-c", WRITER_SCRIPT, str(path)], check=True)
    assert path.with_name("state.sqlite-wal").exists()
    connection.execute("INSERT INTO t VALUES (3)")
    assert connection.execute("SELECT a FROM t ORDER BY a").fetchall() == [(1,), (2,), (3,)]
    connection.close()


def test_a_state_outside_the_home_is_private_but_its_folder_is_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    handle = open_state(folder / "elsewhere.sqlite")
    assert set(database_modes(folder / "elsewhere.sqlite").values()) == {0o600}
    assert file_mode(folder) == 0o755
    assert handle


def test_links_and_missing_files_are_ignored(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("somebody's")
    link.symlink_to(target)
    tool = tmp_path / "tool"
    tool.touch(0o755)
    assert restrict_to_owner([link, tmp_path / "missing", tool]) == []
    assert file_mode(target) == 0o644
    assert file_mode(tool) == 0o700  # the owner's permissions stay


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x")
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.chdir(tmp_path)  # that user cannot traverse the parent folders
        os.setuid(65534)
        is_readable = Path("theirs").stat().st_size == 1
        os._exit(is_readable and len(restrict_to_owner([Path("theirs")])))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
