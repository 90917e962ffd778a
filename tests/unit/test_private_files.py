"""State, outbox and traces are their owner's alone: in a new home, and in one that others read."""

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


WRITE = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("INSERT INTO t VALUES (2)")
other.close()
"""
OPENED: dict[str, Callable[[Path], object]] = {
    "state": open_state,
    "outbox": Outbox,
    "traces": TraceTables,
}


@pytest.fixture(autouse=True)
def shared_with_everybody() -> Iterator[None]:
    """The usual mask of a shell: what is made is everybody's to read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes(path: Path) -> dict[str, int]:
    return {
        database_file.name: mode(database_file)
        for database_file in database_files(path)
        if database_file.exists()
    }


@pytest.mark.parametrize("name", OPENED)
def test_a_new_database_is_private_with_what_lies_beside_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.sqlite"
    held = OPENED[name](path)
    found = modes(path)
    assert {f"{name}.sqlite", f"{name}.sqlite-wal", f"{name}.sqlite-shm"} <= set(found)
    assert set(found.values()) == {0o600}
    assert held


@pytest.mark.parametrize("name", OPENED)
def test_one_that_others_could_read_is_taken_from_them_while_it_is_in_use(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / f"{name}.sqlite"
    used = sqlite3.connect(path)
    used.execute("PRAGMA journal_mode = WAL")
    used.execute("CREATE TABLE another (a)")
    used.commit()
    assert set(modes(path).values()) == {0o644}
    held = OPENED[name](path)
    assert set(modes(path).values()) == {0o600}
    assert used.execute("SELECT count(*) FROM another").fetchone() == (0,)
    used.close()
    assert held


def test_opening_ends_no_lock_of_the_same_process(tmp_path: Path) -> None:
    """Who closes a file ends all locks that the process holds on it. Another process then takes
    itself for the last user of the database and removes the log that is in use here."""
    path = tmp_path / "state.sqlite"
    open_state(path)
    used = sqlite3.connect(path, isolation_level=None)
    used.execute("INSERT INTO t VALUES (1)")
    make_private_database(path)
    subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True)
    assert path.with_name("state.sqlite-wal").exists()
    used.execute("INSERT INTO t VALUES (3)")
    assert used.execute("SELECT a FROM t ORDER BY a").fetchall() == [(1,), (2,), (3,)]
    used.close()


def test_a_state_elsewhere_is_private_and_its_folder_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    held = open_state(folder / "elsewhere.sqlite")
    assert set(modes(folder / "elsewhere.sqlite").values()) == {0o600}
    assert mode(folder) == 0o755
    assert held


def test_what_is_no_file_of_the_homes_is_left(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("somebody's")
    link.symlink_to(target)
    tool = tmp_path / "tool"
    tool.touch(0o755)
    assert restrict_to_owner([link, tmp_path / "missing", tool]) == []
    assert mode(target) == 0o644
    assert mode(tool) == 0o700  # the owner's own rights stay


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_named(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x")
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.chdir(tmp_path)  # the folders above are not that user's to pass
        os.setuid(65534)
        is_seen = Path("theirs").stat().st_size == 1
        os._exit(is_seen and len(restrict_to_owner([Path("theirs")])))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
