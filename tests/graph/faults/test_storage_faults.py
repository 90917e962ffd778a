"""Test that real storage faults are reported with their cause and remedy."""

from __future__ import annotations

import gc
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from twin_cli.commands.doctor import stores

from tests.small_disk import SmallDisk, small_disk
from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.settings import Settings
from twin_resources.storage.state.database_files import check_database, copy_database
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.storage_faults import (
    DamagedError,
    DiskFullError,
    LockedError,
    ReadOnlyError,
    StorageError,
    UnreachableError,
)
from twin_resources.storage.tables.store import open_table
from twin_resources.storage.tables.table_integrity import check_table
from twin_resources.storage.tables.tables import Tables

COLUMNS = {"post": pl.String(), "text": pl.String()}
TROUBLESHOOTING = Path(__file__).parents[3] / "deploy" / "docs" / "troubleshooting.md"


def sync(tables: Tables, count: int, author: str = "mara") -> None:
    rows = [
        {"post": f"p{n:03}", "text": f"text {n} of {count if n < 3 else 0}"} for n in range(count)
    ]
    tables.sync(
        pl.DataFrame(rows, schema=COLUMNS), "texts", author=author, key="post",
        function=lambda changed: changed, version="1", schema=COLUMNS, row_key="post",
    )  # fmt: skip


def build_store_uses(folder: Path) -> list[Callable[[], object]]:
    """Return functions that each open, write and close one of a home's SQLite files."""

    def use_state() -> None:
        state_store = State.open(f"sqlite:///{folder / 'state.sqlite'}")
        try:
            with state_store.lease("test"):
                pass
        finally:
            state_store.close()

    def use_outbox() -> None:
        Outbox(folder / "outbox.sqlite").close()

    def use_traces() -> None:
        TraceTables(folder / "traces.sqlite")
        gc.collect()  # it has no `close`: its connection ends with it

    return [use_state, use_outbox, use_traces]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small disk", megabytes=4) as mounted:
        yield mounted


@pytest.fixture
def tables(home: Settings) -> Tables:
    """Return an author's tables in three versions; the last has a file of deleted rows."""
    write_author(home, Author(slug="mara", name="Mara Lind"))
    state = open_home_state(home)
    tables = Tables(home.tables_base, state=state, lease_wait_s=1)
    for count in (5, 10, 20):
        sync(tables, count)
    return tables


def list_manifests(tables: Tables) -> list[Path]:
    """Return the manifests, newest first, because their names count down."""
    return sorted(Path(tables.uri("texts", "mara"), "_versions").glob("*.manifest"))


def list_data_files(tables: Tables) -> list[Path]:
    return sorted(Path(tables.uri("texts", "mara"), "data").iterdir())


def empty_manifest(tables: Tables) -> None:
    list_manifests(tables)[0].write_bytes(b"")


def truncate_manifest(tables: Tables) -> None:
    file = list_manifests(tables)[0]
    file.write_bytes(file.read_bytes()[:-20])


def delete_data(tables: Tables) -> None:
    for file in list_data_files(tables):
        file.unlink()


def truncate_data(tables: Tables) -> None:
    for file in list_data_files(tables):
        file.write_bytes(file.read_bytes()[:-30])


def delete_deletions(tables: Tables) -> None:
    for file in Path(tables.uri("texts", "mara"), "_deletions").iterdir():
        file.unlink()


def delete_versions(tables: Tables) -> None:
    shutil.rmtree(Path(tables.uri("texts", "mara"), "_versions"))


TABLE_FAULTS = (
    empty_manifest, truncate_manifest, delete_data, truncate_data, delete_deletions,
    delete_versions,
)  # fmt: skip


@pytest.mark.parametrize("damage", TABLE_FAULTS, ids=lambda item: item.__name__)
def test_readers_writers_and_the_doctor_report_a_damaged_table(
    tables: Tables, home: Settings, damage: Callable[[Tables], None]
) -> None:
    assert [check.verdict for check in stores.check_tables(home)] == ["ok"]
    damage(tables)
    uses: tuple[Callable[[], object], ...] = (
        lambda: tables.read("texts", "mara"),
        lambda: tables.read("texts", "mara", where="post = 'p001'"),
        lambda: tables.scan("texts", "mara").collect(),
        lambda: sync(tables, 21),
    )
    for use_table in uses:
        # Polars wraps the error of a source in its own.
        with pytest.raises(Exception, match="is damaged") as error:
            use_table()
        if isinstance(error.value, TwinError):
            assert isinstance(error.value, DamagedError)
            assert error.value.next_step == DamagedError.remedy
    [failed_check, summary] = stores.check_tables(home)
    assert (failed_check.verdict, failed_check.remedy) == ("fail", DamagedError.remedy)
    assert "texts of mara" in failed_check.found
    assert summary.found.startswith("0 tables")


def test_an_invalid_filter_is_distinguished_from_a_lost_file(tables: Tables) -> None:
    for where in ("length = = 3", "nothing = 3"):
        with pytest.raises(TwinError, match="correct the SQL filter") as error:
            tables.read("texts", "mara", where=where)
        assert not isinstance(error.value, StorageError)
    delete_data(tables)
    with pytest.raises(TwinError, match="correct the SQL filter"):
        tables.read("texts", "mara", where="nothing = 3")


def test_a_damaged_old_version_is_distinguished_from_a_missing_one(tables: Tables) -> None:
    oldest = len(list_manifests(tables))
    list_manifests(tables)[-1].write_bytes(b"")
    with pytest.raises(DamagedError):
        tables.read("texts", "mara", version=1)
    with pytest.raises(TwinError, match="choose a tag or version") as error:
        tables.read("texts", "mara", version=oldest + 1)
    assert not isinstance(error.value, StorageError)
    assert tables.read("texts", "mara").height == 20


def test_a_changed_value_on_disk_is_found_by_the_thorough_check(tables: Tables) -> None:
    table = open_table(tables.uri("texts", "mara"))
    assert table is not None
    check_table(table, verify_values=True)
    changed_count = 0
    for file in list_data_files(tables):
        content = file.read_bytes()
        changed_count += content.count(b"text 15 of 0")
        file.write_bytes(content.replace(b"text 15 of 0", b"text 16 of 0"))
    assert changed_count == 1
    reopened = open_table(tables.uri("texts", "mara"))
    assert reopened is not None
    with pytest.raises(DamagedError, match="differs from the written one"):
        check_table(reopened, verify_values=True)


@pytest.mark.parametrize("free_bytes", [0, 8_192])
def test_every_database_reports_a_full_disk(disk: SmallDisk, free_bytes: int) -> None:
    for use_store in build_store_uses(disk.path):
        use_store()
    disk.fill(leave=free_bytes)
    use_state, use_outbox, _ = build_store_uses(disk.path)  # the trace store opens without writing
    for use_store in (use_state, use_outbox):
        with pytest.raises(TwinError, match="no space left on the disk") as error:
            use_store()
        assert error.value.next_step == DiskFullError.remedy
    for name in ("state.sqlite", "outbox.sqlite"):
        with pytest.raises(DiskFullError):
            check_database(disk.path / name)
    disk.make_room()
    for use_store in build_store_uses(disk.path):
        use_store()


def test_databases_and_tables_report_a_read_only_disk(disk: SmallDisk) -> None:
    for use_store in build_store_uses(disk.path):
        use_store()
    other = State.open(f"sqlite:///{disk.path.parent / 'other.sqlite'}")
    tables = Tables(str(disk.path / "tables"), state=other, lease_wait_s=1)
    sync(tables, 5)
    subprocess.run(["mount", "-o", "remount,ro", str(disk.path)], check=True)
    for use_store in build_store_uses(disk.path):
        with pytest.raises(TwinError, match="may not write to") as error:
            use_store()
        assert error.value.next_step == ReadOnlyError.remedy
    with pytest.raises(ReadOnlyError):
        check_database(disk.path / "state.sqlite")
    with pytest.raises(ReadOnlyError):
        sync(tables, 6)
    assert tables.read("texts", "mara").height == 5
    other.close()


@pytest.mark.parametrize("fault", ["half", "overwritten", "no database"])
def test_stores_and_the_doctor_report_a_damaged_database(home: Settings, fault: str) -> None:
    for use_store in build_store_uses(home.home):
        use_store()
    assert [check.verdict for check in stores.check_databases(home)] == ["ok"]
    for name, use_store in zip(
        ("state.sqlite", "outbox.sqlite", "traces.sqlite"), build_store_uses(home.home), strict=True
    ):
        file = home.home / name
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        size = file.stat().st_size
        damaged = {
            "half": file.read_bytes()[: size // 2],
            "overwritten": file.read_bytes()[:4096] + bytes([7]) * (size - 4096),
            "no database": b"this is not a database" * 500,
        }[fault]
        file.write_bytes(damaged)
        with pytest.raises(DamagedError):
            check_database(file)
        with pytest.raises(DamagedError):
            copy_database(file, home.home.parent / f"copy-{name}")
        if fault == "no database":
            with pytest.raises(TwinError, match="is damaged") as error:
                use_store()
            assert error.value.next_step == DamagedError.remedy
    *failed_checks, last_check = stores.check_databases(home)
    assert [check.verdict for check in failed_checks] == ["fail"] * 3
    assert {check.remedy for check in failed_checks} == {DamagedError.remedy}
    assert last_check.verdict == "ok"


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
        with pytest.raises(LockedError, match="another program is using") as error:
            open_home_state(home)
        assert error.value.next_step == LockedError.remedy
        with pytest.raises(LockedError):
            check_database(home.home / "state.sqlite")
    finally:
        holder.communicate("")
    open_home_state(home).close()
    check_database(home.home / "state.sqlite")


def test_a_missing_database_is_reported_as_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        check_database(tmp_path / "no folder" / "state.sqlite")


def test_a_copy_of_a_database_has_only_committed_rows(home: Settings) -> None:
    state = open_home_state(home)
    with state.lease("before"), state.transaction() as connection:
        from twin_resources.storage.state.state_tables import routing

        connection.exec_driver_sql("CREATE TABLE foreign_rows (value)")
        connection.execute(routing.insert().values(author="mara", table={"a": 1}, written_at="now"))
    with state.engine.connect() as writing:  # an open transaction, which is not in the copy
        writing.exec_driver_sql("INSERT INTO foreign_rows VALUES (1)")
        copy_database(home.home / "state.sqlite", home.home / "copy.sqlite")
        writing.rollback()
    copy = sqlite3.connect(home.home / "copy.sqlite")
    assert copy.execute("SELECT author FROM routing").fetchall() == [("mara",)]
    assert copy.execute("SELECT count(*) FROM foreign_rows").fetchone() == (0,)
    copy.close()
    state.close()


def test_a_functions_own_permission_error_is_not_a_table_fault(
    tables: Tables, tmp_path: Path
) -> None:
    def fail(changed: pl.DataFrame) -> pl.DataFrame:
        raise PermissionError(13, "Permission denied", str(tmp_path / "elsewhere" / "model"))

    with pytest.raises(PermissionError):
        tables.sync(
            pl.DataFrame([{"post": "new", "text": "t"}], schema=COLUMNS), "others", author="mara",
            key="post", function=fail, version="1", schema=COLUMNS, row_key="post",
        )  # fmt: skip


def test_troubleshooting_has_a_row_for_each_cause() -> None:
    text = TROUBLESHOOTING.read_text(encoding="utf-8")
    for fault in (DiskFullError, ReadOnlyError, DamagedError, UnreachableError, LockedError):
        words = re.escape(fault.found_template).replace(r"\{place\}", "…")
        assert re.search(rf"^\| `{words}", text, re.MULTILINE), fault.__name__
