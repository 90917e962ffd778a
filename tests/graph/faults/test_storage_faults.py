"""Test that each cause of a real storage fault is named with its remedy, and that no row is lost.

For weights and the output of a training on a full disk, see `tests/live/weights` and
`tests/live/training`.
"""

from __future__ import annotations

import errno
import gc
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from twin_cli.commands.doctor import open_home, run_check

from tests.small_disk import SmallDisk, small_disk
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.settings import Settings
from twin_resources.storage.state.database_files import check_database, copy_database
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import empty_inputs, routing
from twin_resources.storage.storage_faults import (
    CAUSES,
    DamagedError,
    DiskFullError,
    LockedError,
    ReadOnlyError,
    StorageError,
    UnreachableError,
    classify_error,
    translate_storage_errors,
)
from twin_resources.storage.tables.store import open_table
from twin_resources.storage.tables.table_integrity import check_table
from twin_resources.storage.tables.tables import SyncResult, Tables

COLUMNS = {"post": pl.String(), "text": pl.String()}
TROUBLESHOOTING = Path(__file__).parents[3] / "deploy" / "docs" / "troubleshooting.md"
STORES = ("state.sqlite", "outbox.sqlite", "traces.sqlite")


def sync(tables: Tables, count: int, *, text_bytes: int = 0) -> SyncResult:
    """Sync posts in batches of fifty; the first three change with each count of small posts."""
    generator = random.Random(0)
    rows = [
        {
            "post": f"p{n:04}",
            "text": generator.randbytes(text_bytes).hex() or f"text {n} of {count if n < 3 else 0}",
        }
        for n in range(count)
    ]
    return tables.sync(
        pl.DataFrame(rows, schema=COLUMNS), "texts", author="mara", key="post",
        function=lambda changed: changed, version="1", schema=COLUMNS, row_key="post",
        batch_rows=50,
    )  # fmt: skip


def use_store(folder: Path, name: str) -> None:
    """Open, write and close one of a home's SQLite files."""
    if name == "state.sqlite":
        with closing(State.open(f"sqlite:///{folder / name}")) as state, state.lease("test"):
            pass
    elif name == "outbox.sqlite":
        Outbox(folder / name).close()
    else:
        TraceTables(folder / name)
        gc.collect()  # it has no `close`: its connection ends with it


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small disk", megabytes=4) as mounted:
        for name in STORES:
            use_store(mounted.path, name)
        yield mounted


@pytest.fixture
def disk_state(disk: SmallDisk) -> Iterator[State]:
    with closing(State.open(f"sqlite:///{disk.path}/state.sqlite")) as state:
        yield state


@pytest.fixture
def disk_tables(disk: SmallDisk, disk_state: State) -> Tables:
    return Tables(str(disk.path / "tables"), state=disk_state, lease_wait_s=5)


@pytest.fixture
def tables(home: Settings) -> Tables:
    """Return an author's tables in three versions; the last has a file of deleted rows."""
    write_author(home, Author(slug="mara", name="Mara Lind"))
    tables = Tables(home.tables_base, state=open_home_state(home), lease_wait_s=1)
    for count in (5, 10, 20):
        sync(tables, count)
    return tables


def list_manifests(folder: Path) -> list[Path]:
    """Return a table's manifests, newest first, because their names count down."""
    return sorted((folder / "_versions").glob("*.manifest"))


def cut(files: list[Path], *, end: int) -> None:
    for file in files:
        file.write_bytes(file.read_bytes()[:end])


TABLE_FAULTS: dict[str, Callable[[Path], object]] = {
    "empty manifest": lambda folder: cut(list_manifests(folder)[:1], end=0),
    "cut manifest": lambda folder: cut(list_manifests(folder)[:1], end=-20),
    "no rows": lambda folder: [file.unlink() for file in (folder / "data").iterdir()],
    "cut rows": lambda folder: cut(list((folder / "data").iterdir()), end=-30),
    "no deletions": lambda folder: [file.unlink() for file in (folder / "_deletions").iterdir()],
    "no versions": lambda folder: shutil.rmtree(folder / "_versions"),
}


@pytest.mark.parametrize("fault", TABLE_FAULTS)
def test_readers_writers_and_doctor_report_a_damaged_table(
    tables: Tables, home: Settings, fault: str
) -> None:
    assert [row.verdict for row in run_check("tables", open_home(home))] == ["ok"]
    TABLE_FAULTS[fault](Path(tables.uri("texts", "mara")))
    uses: tuple[Callable[[], object], ...] = (
        lambda: tables.read("texts", "mara"),
        lambda: tables.read("texts", "mara", where="post = 'p0001'"),
        lambda: tables.scan("texts", "mara").collect(),
        lambda: sync(tables, 21),
    )
    for use_table in uses:
        # Polars wraps the error of a source in its own.
        with pytest.raises(Exception, match="is damaged") as error:
            use_table()
        if isinstance(error.value, TwinError):
            assert isinstance(error.value, DamagedError)
    [failed, summary] = run_check("tables", open_home(home))
    assert (failed.verdict, failed.remedy) == ("fail", DamagedError.remedy)
    assert "texts of mara" in failed.found
    assert summary.found.startswith("0 tables")


def test_a_wrong_filter_or_version_is_no_damage(tables: Tables) -> None:
    folder = Path(tables.uri("texts", "mara"))
    oldest = len(list_manifests(folder))
    cut(list_manifests(folder)[-1:], end=0)
    with pytest.raises(DamagedError):
        tables.read("texts", "mara", version=1)
    assert tables.read("texts", "mara").height == 20
    with pytest.raises(TwinError, match="choose a tag or version") as error:
        tables.read("texts", "mara", version=oldest + 1)
    assert not isinstance(error.value, StorageError)
    for where in ("length = = 3", "nothing = 3"):
        with pytest.raises(TwinError, match="correct the SQL filter") as error:
            tables.read("texts", "mara", where=where)
        assert not isinstance(error.value, StorageError)
    TABLE_FAULTS["no rows"](folder)
    with pytest.raises(TwinError, match="correct the SQL filter"):
        tables.read("texts", "mara", where="nothing = 3")


def test_a_changed_value_on_disk_is_found_by_the_thorough_check(tables: Tables) -> None:
    uri, changed_count = tables.uri("texts", "mara"), 0
    for expected_count in (0, 1):
        table = open_table(uri)
        assert table is not None
        if not expected_count:
            check_table(table, verify_values=True)
        else:
            assert changed_count == expected_count
            with pytest.raises(DamagedError, match="differs from the written one"):
                check_table(table, verify_values=True)
        for file in Path(uri, "data").iterdir():
            content = file.read_bytes()
            changed_count += content.count(b"text 15 of 0")
            file.write_bytes(content.replace(b"text 15 of 0", b"text 16 of 0"))


@pytest.mark.parametrize("free_bytes", [0, 8_192])
def test_databases_report_a_full_disk(disk: SmallDisk, free_bytes: int) -> None:
    disk.fill(leave=free_bytes)
    for name in STORES[:2]:  # the trace store opens without writing
        with pytest.raises(TwinError, match="no space left on the disk") as error:
            use_store(disk.path, name)
        assert error.value.next_step == DiskFullError.remedy
        with pytest.raises(DiskFullError):
            check_database(disk.path / name)
    with pytest.raises(TwinError, match="state store"):
        State.open(f"sqlite:///{disk.path}/new.sqlite")
    disk.make_room()
    for name in STORES:
        use_store(disk.path, name)
    State.open(f"sqlite:///{disk.path}/new.sqlite").close()


def test_databases_and_tables_report_a_read_only_disk(disk: SmallDisk, home: Settings) -> None:
    tables = Tables(str(disk.path / "tables"), state=open_home_state(home), lease_wait_s=1)
    sync(tables, 5)
    subprocess.run(["mount", "-o", "remount,ro", str(disk.path)], check=True)
    for name in STORES:
        with pytest.raises(TwinError, match="may not write to") as error:
            use_store(disk.path, name)
        assert error.value.next_step == ReadOnlyError.remedy
    with pytest.raises(ReadOnlyError):
        check_database(disk.path / "state.sqlite")
    with pytest.raises(ReadOnlyError):
        sync(tables, 6)
    assert tables.read("texts", "mara").height == 5


# No space; space for the state but not for Lance's files; space for some batches.
@pytest.mark.long
@pytest.mark.parametrize("free_bytes", [0, 16_384, 400_000])
def test_a_sync_on_a_full_disk_keeps_whole_batches_and_resumes(
    disk: SmallDisk, disk_tables: Tables, free_bytes: int
) -> None:
    before = sync(disk_tables, 100, text_bytes=500)
    rows_before = disk_tables.read("texts", "mara")
    disk.fill(leave=free_bytes)
    with pytest.raises(DiskFullError, match=r"no space left on the disk of .*free space there"):
        sync(disk_tables, 1000, text_bytes=500)
    rows = disk_tables.read("texts", "mara")
    assert rows.filter(pl.col("post") < "p0100").equals(rows_before)
    assert rows.height % 50 == 0
    has_grown = disk_tables.data_version("texts", "mara") != before.data_version
    assert has_grown == (rows.height > 100) == (free_bytes == 400_000)

    disk.make_room()
    result = sync(disk_tables, 1000, text_bytes=500)
    assert (result.row_count, result.computed_count) == (1000, 1000 - rows.height)


def test_a_transaction_or_lease_on_a_full_disk_is_not_half_stored(
    disk: SmallDisk, disk_state: State
) -> None:
    def insert_rows(count: int) -> None:
        rows = [
            {"table_uri": str(count), "input_key": str(n), "input_hash": bytes(900), "version": "1"}
            for n in range(count)
        ]
        with disk_state.transaction() as connection:
            connection.execute(sa.insert(empty_inputs), rows)

    def count_rows() -> int:
        with disk_state.read_transaction() as connection:
            query = sa.select(sa.func.count()).select_from(empty_inputs)
            return connection.execute(query).scalar_one()

    insert_rows(10)
    with disk_state.lease("held"):
        disk.fill()
    with pytest.raises(DiskFullError, match=r"write to the state store.*no space left"):
        insert_rows(3000)
    with pytest.raises(DiskFullError), disk_state.lease("table of mara"):
        pytest.fail("a lease was granted without being stored")
    assert count_rows() == 10
    disk.make_room()
    insert_rows(1000)
    assert count_rows() == 1010
    with disk_state.lease("held", wait_s=0) as lease:
        lease.check()


@pytest.mark.parametrize("fault", ["half", "overwritten", "no database"])
def test_stores_and_doctor_report_a_damaged_database(home: Settings, fault: str) -> None:
    for name in STORES:
        use_store(home.home, name)
    assert [row.verdict for row in run_check("databases", open_home(home))] == ["ok"]
    for name in STORES:
        file = home.home / name
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = file.read_bytes()
        damaged = {
            "half": content[: len(content) // 2],
            "overwritten": content[:4096] + bytes([7]) * (len(content) - 4096),
            "no database": b"this is not a database" * 500,
        }[fault]
        file.write_bytes(damaged)
        with pytest.raises(DamagedError):
            copy_database(file, home.home.parent / f"copy-{name}")
        if fault == "no database":
            with pytest.raises(TwinError, match="is damaged") as error:
                use_store(home.home, name)
            assert error.value.next_step == DamagedError.remedy
    *failed, summary = run_check("databases", open_home(home))
    assert [row.verdict for row in failed] == ["fail"] * 3
    assert {row.remedy for row in failed} == {DamagedError.remedy}
    assert summary.verdict == "ok"


def test_a_database_in_use_by_another_process_is_locked(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin_resources.storage.state.state._BUSY_TIMEOUT_S", 1)
    monkeypatch.setattr("twin_resources.storage.state.database_files._BUSY_TIMEOUT_S", 1)
    open_home_state(home).close()
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(home.home / "state.sqlite")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match="another program is using"):
            open_home_state(home)
        with pytest.raises(LockedError):
            check_database(home.home / "state.sqlite")
    finally:
        holder.communicate("")
    check_database(home.home / "state.sqlite")


def test_a_copy_of_a_database_has_only_committed_rows(home: Settings) -> None:
    state = open_home_state(home)
    with state.lease("before"), state.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE foreign_rows (value)")
        connection.execute(routing.insert().values(author="mara", table={"a": 1}, written_at="now"))
    with state.engine.connect() as writing:  # an open transaction, which is not in the copy
        writing.exec_driver_sql("INSERT INTO foreign_rows VALUES (1)")
        copy_database(home.home / "state.sqlite", home.home / "copy.sqlite")
        writing.rollback()
    with closing(sqlite3.connect(home.home / "copy.sqlite")) as copy:
        assert copy.execute("SELECT author FROM routing").fetchall() == [("mara",)]
        assert copy.execute("SELECT count(*) FROM foreign_rows").fetchone() == (0,)
    state.close()


def lance_error(text: str) -> OSError:
    return OSError(f"LanceError(IO): {text}, /rust/lance-io/src/object_store.rs:1:2")


# (error, the place that was used, its cause)
ERRORS: tuple[tuple[Exception, str, type[StorageError] | None], ...] = (
    (OSError(errno.ENOSPC, "No space left on device"), "/a", DiskFullError),
    (lance_error("No space left on device (os error 28)"), "/a", DiskFullError),
    (PermissionError(errno.EACCES, "refused", "/a/b"), "/a/c", ReadOnlyError),
    (PermissionError(errno.EACCES, "refused", "/b/model"), "/a/c", None),
    (lance_error("Permission denied (os error 13)"), "/a", ReadOnlyError),
    (OSError(errno.ESTALE, "Stale file handle"), "/a", UnreachableError),
    (lance_error("Generic S3 error: builder error"), "s3://a/b", UnreachableError),
    (lance_error("403 Forbidden: object not found"), "s3://a/b", UnreachableError),
    (lance_error("Object at location a not found"), "/a", DamagedError),
    (ValueError("the word 'timeout' was not found"), "/a", None),
)


def test_causes_are_told_apart() -> None:
    for error, place, cause in ERRORS:
        assert classify_error(error, place) is cause, error
    with pytest.raises(UnreachableError):
        check_database(Path("/no folder/state.sqlite"))
    with pytest.raises(DiskFullError), translate_storage_errors("a", "/a", only=DiskFullError):
        raise ERRORS[0][0]
    with pytest.raises(PermissionError), translate_storage_errors("a", "/a", only=DiskFullError):
        raise ERRORS[2][0]


def test_a_functions_own_permission_error_is_no_table_fault(tables: Tables, tmp_path: Path) -> None:
    def fail(changed: pl.DataFrame) -> pl.DataFrame:
        raise PermissionError(13, "Permission denied", str(tmp_path / "elsewhere" / "model"))

    with pytest.raises(PermissionError):
        tables.sync(
            pl.DataFrame([{"post": "new", "text": "t"}], schema=COLUMNS), "others", author="mara",
            key="post", function=fail, version="1", schema=COLUMNS, row_key="post",
        )  # fmt: skip


def test_troubleshooting_has_a_row_for_each_cause() -> None:
    text = TROUBLESHOOTING.read_text(encoding="utf-8")
    for fault in CAUSES:
        words = re.escape(fault.found_template).replace(r"\{place\}", "…")
        assert re.search(rf"^\| `{words}", text, re.MULTILINE), fault.__name__
