"""Real storage faults: each is reported with its cause and its own remedy."""

from __future__ import annotations

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
TROUBLE = Path(__file__).parents[3] / "deploy" / "docs" / "troubleshooting.md"


def sync(tables: Tables, count: int, author: str = "mara") -> None:
    rows = [
        {"post": f"p{n:03}", "text": f"text {n} of {count if n < 3 else 0}"} for n in range(count)
    ]
    tables.sync(
        pl.DataFrame(rows, schema=COLUMNS), "texts", author=author, key="post",
        function=lambda changed: changed, version="1", schema=COLUMNS, row_key="post",
    )  # fmt: skip


def open_all(folder: Path) -> list[Callable[[], object]]:
    """Functions that each open one of a home's SQLite files, write to it and close it."""

    def state() -> None:
        opened_state = State.open(f"sqlite:///{folder / 'state.sqlite'}")
        try:
            with opened_state.lease("test"):
                pass
        finally:
            opened_state.close()

    def outbox() -> None:
        Outbox(folder / "outbox.sqlite").close()

    def traces() -> None:
        TraceTables(folder / "traces.sqlite")

    return [state, outbox, traces]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small disk", megabytes=4) as mounted:
        yield mounted


@pytest.fixture
def living(home: Settings) -> Tables:
    """Tables of one author; the last of three versions has a file of deleted rows."""
    write_author(home, Author(slug="mara", name="Mara Lind"))
    state = State.open(home.state_address)
    tables = Tables(home.tables_base, state=state, lease_wait_s=1)
    for count in (5, 10, 20):
        sync(tables, count)
    return tables


def manifests(tables: Tables) -> list[Path]:
    """Manifests, newest first: their names count down."""
    return sorted(Path(tables.uri("texts", "mara"), "_versions").glob("*.manifest"))


def data_files(tables: Tables) -> list[Path]:
    return sorted(Path(tables.uri("texts", "mara"), "data").iterdir())


def empty_manifest(tables: Tables) -> None:
    manifests(tables)[0].write_bytes(b"")


def short_manifest(tables: Tables) -> None:
    file = manifests(tables)[0]
    file.write_bytes(file.read_bytes()[:-20])


def lost_data(tables: Tables) -> None:
    for file in data_files(tables):
        file.unlink()


def short_data(tables: Tables) -> None:
    for file in data_files(tables):
        file.write_bytes(file.read_bytes()[:-30])


def lost_deletions(tables: Tables) -> None:
    for file in Path(tables.uri("texts", "mara"), "_deletions").iterdir():
        file.unlink()


def lost_versions(tables: Tables) -> None:
    shutil.rmtree(Path(tables.uri("texts", "mara"), "_versions"))


TABLE_FAULTS = (
    empty_manifest, short_manifest, lost_data, short_data, lost_deletions, lost_versions,
)  # fmt: skip


@pytest.mark.parametrize("break_it", TABLE_FAULTS, ids=lambda one: one.__name__)
def test_a_damaged_table_is_told_as_damaged_to_readers_writers_and_by_the_doctor(
    living: Tables, home: Settings, break_it: Callable[[Tables], None]
) -> None:
    assert [check.verdict for check in stores.check_tables(home)] == ["ok"]
    break_it(living)
    uses: tuple[Callable[[], object], ...] = (
        lambda: living.read("texts", "mara"),
        lambda: living.read("texts", "mara", where="post = 'p001'"),
        lambda: living.scan("texts", "mara").collect(),
        lambda: sync(living, 21),
    )
    for use in uses:
        # Polars has an error of its own around that of a source
        with pytest.raises(Exception, match="is damaged") as caught:
            use()
        if isinstance(caught.value, TwinError):
            assert isinstance(caught.value, DamagedError)
            assert caught.value.next_step == DamagedError.remedy
    [failed, rest] = stores.check_tables(home)
    assert (failed.verdict, failed.remedy) == ("fail", DamagedError.remedy)
    assert "texts of mara" in failed.found
    assert rest.found.startswith("0 tables")


def test_a_filter_that_is_wrong_is_told_from_a_lost_file(living: Tables) -> None:
    for wrong in ("length = = 3", "nothing = 3"):
        with pytest.raises(TwinError, match="correct the SQL filter") as caught:
            living.read("texts", "mara", where=wrong)
        assert not isinstance(caught.value, StorageError)
    lost_data(living)
    with pytest.raises(TwinError, match="correct the SQL filter"):
        living.read("texts", "mara", where="nothing = 3")


def test_an_old_version_that_is_damaged_is_told_from_one_that_never_was(living: Tables) -> None:
    oldest = len(manifests(living))
    manifests(living)[-1].write_bytes(b"")
    with pytest.raises(DamagedError):
        living.read("texts", "mara", version=1)
    with pytest.raises(TwinError, match="choose a tag or version") as caught:
        living.read("texts", "mara", version=oldest + 1)
    assert not isinstance(caught.value, StorageError)
    assert living.read("texts", "mara").height == 20


def test_a_value_that_changed_on_disk_is_found_by_the_thorough_look(living: Tables) -> None:
    table = open_table(living.uri("texts", "mara"))
    assert table is not None
    check_table(table, verify_values=True)
    changed = 0
    for file in data_files(living):
        content = file.read_bytes()
        changed += content.count(b"text 15 of 0")
        file.write_bytes(content.replace(b"text 15 of 0", b"text 16 of 0"))
    assert changed == 1
    reopened = open_table(living.uri("texts", "mara"))
    assert reopened is not None
    with pytest.raises(DamagedError, match="differs from the written one"):
        check_table(reopened, verify_values=True)


@pytest.mark.parametrize("leave", [0, 8_192])
def test_a_full_disk_is_a_full_disk_to_every_database(disk: SmallDisk, leave: int) -> None:
    for store in open_all(disk.path):
        store()
    disk.fill(leave=leave)
    state, outbox, _ = open_all(disk.path)  # the trace store opens without writing
    for store in (state, outbox):
        with pytest.raises(TwinError, match="no space left on the disk") as caught:
            store()
        assert caught.value.next_step == DiskFullError.remedy
    for name in ("state.sqlite", "outbox.sqlite"):
        with pytest.raises(DiskFullError):
            check_database(disk.path / name)
    disk.make_room()
    for store in open_all(disk.path):
        store()


def test_a_read_only_disk_is_told_by_databases_and_tables_and_keeps_what_is_there(
    disk: SmallDisk,
) -> None:
    for store in open_all(disk.path):
        store()
    other = State.open(f"sqlite:///{disk.path.parent / 'other.sqlite'}")
    tables = Tables(str(disk.path / "tables"), state=other, lease_wait_s=1)
    sync(tables, 5)
    subprocess.run(["mount", "-o", "remount,ro", str(disk.path)], check=True)
    for store in open_all(disk.path):
        with pytest.raises(TwinError, match="may not write to") as caught:
            store()
        assert caught.value.next_step == ReadOnlyError.remedy
    with pytest.raises(ReadOnlyError):
        check_database(disk.path / "state.sqlite")
    with pytest.raises(ReadOnlyError):
        sync(tables, 6)
    assert tables.read("texts", "mara").height == 5
    other.close()


@pytest.mark.parametrize("how", ["half", "overwritten", "no database"])
def test_a_damaged_database_is_told_by_whoever_opens_it_and_by_the_doctor(
    home: Settings, how: str
) -> None:
    for store in open_all(home.home):
        store()
    assert [check.verdict for check in stores.check_databases(home)] == ["ok"]
    for name, store in zip(
        ("state.sqlite", "outbox.sqlite", "traces.sqlite"), open_all(home.home), strict=True
    ):
        file = home.home / name
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        size = file.stat().st_size
        wrong = {
            "half": file.read_bytes()[: size // 2],
            "overwritten": file.read_bytes()[:4096] + bytes([7]) * (size - 4096),
            "no database": b"this is no database" * 500,
        }[how]
        file.write_bytes(wrong)
        with pytest.raises(DamagedError):
            check_database(file)
        with pytest.raises(DamagedError):
            copy_database(file, home.home.parent / f"copy-{name}")
        if how == "no database":
            with pytest.raises(TwinError, match="is damaged") as caught:
                store()
            assert caught.value.next_step == DamagedError.remedy
    *failed, last = stores.check_databases(home)
    assert [each.verdict for each in failed] == ["fail"] * 3
    assert {each.remedy for each in failed} == {DamagedError.remedy}
    assert last.verdict == "ok"


def test_a_database_that_another_process_holds_is_locked(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twin_resources.storage.state.state._BUSY_S", 1)
    monkeypatch.setattr("twin_resources.storage.state.database_files._BUSY_S", 1)
    State.open(home.state_address).close()
    hold = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(home.home / "state.sqlite")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match="another program is using") as caught:
            State.open(home.state_address)
        assert caught.value.next_step == LockedError.remedy
        with pytest.raises(LockedError):
            check_database(home.home / "state.sqlite")
    finally:
        holder.communicate("")
    State.open(home.state_address).close()
    check_database(home.home / "state.sqlite")


def test_what_is_away_is_told_as_away(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        check_database(tmp_path / "no folder" / "state.sqlite")
    with pytest.raises(UnreachableError):
        State.open("postgresql+psycopg2://twin:geheim@127.0.0.1:9/twin")


def test_a_copy_of_a_database_holds_what_was_committed_while_others_write(home: Settings) -> None:
    state = State.open(home.state_address)
    with state.lease("before"), state.transaction() as connection:
        from twin_resources.storage.state.state_tables import routing

        connection.exec_driver_sql("CREATE TABLE of_somebody (value)")
        connection.execute(routing.insert().values(author="mara", table={"a": 1}, written_at="now"))
    with state.engine.connect() as writing:  # a transaction that is open, and is not in the copy
        writing.exec_driver_sql("INSERT INTO of_somebody VALUES (1)")
        copy_database(home.home / "state.sqlite", home.home / "copy.sqlite")
        writing.rollback()
    copied = sqlite3.connect(home.home / "copy.sqlite")
    assert copied.execute("SELECT author FROM routing").fetchall() == [("mara",)]
    assert copied.execute("SELECT count(*) FROM of_somebody").fetchone() == (0,)
    copied.close()
    state.close()


def test_somebody_elses_missing_right_is_not_the_tables(living: Tables, tmp_path: Path) -> None:
    def function(changed: pl.DataFrame) -> pl.DataFrame:
        raise PermissionError(13, "Permission denied", str(tmp_path / "elsewhere" / "model"))

    with pytest.raises(PermissionError):
        living.sync(
            pl.DataFrame([{"post": "new", "text": "t"}], schema=COLUMNS), "others", author="mara",
            key="post", function=function, version="1", schema=COLUMNS, row_key="post",
        )  # fmt: skip


def test_troubleshooting_has_a_row_for_each_cause() -> None:
    text = TROUBLE.read_text(encoding="utf-8")
    for fault in (DiskFullError, ReadOnlyError, DamagedError, UnreachableError, LockedError):
        words = re.escape(fault.found_template).replace(r"\{place\}", "…")
        assert re.search(rf"^\| `{words}", text, re.MULTILINE), fault.__name__
