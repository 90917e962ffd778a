"""Test that tables and state on a full disk raise an error, lose nothing, and work again later.

For weights and the output of a training, see `tests/live/weights` and `tests/live/training`.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa

from tests.small_disk import SmallDisk, small_disk
from twin_resources.errors import TwinError
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import empty_inputs
from twin_resources.storage.storage_faults import DiskFullError, is_disk_full, translate_disk_full
from twin_resources.storage.tables.tables import SyncResult, Tables

COLUMNS = {"post": pl.String(), "text": pl.String()}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small disk", megabytes=4) as mounted:
        yield mounted


@pytest.fixture
def state(disk: SmallDisk) -> Iterator[State]:
    state = State.open(f"sqlite:///{disk.path}/state.sqlite")
    yield state
    state.close()


@pytest.fixture
def tables(disk: SmallDisk, state: State) -> Tables:
    return Tables(str(disk.path / "tables"), state=state, lease_wait_s=5)


def sync(tables: Tables, post_count: int) -> SyncResult:
    """Sync posts of half a kilobyte of random text each, in batches of fifty."""
    generator = random.Random(0)
    rows = [
        {"post": f"p{number:04}", "text": generator.randbytes(500).hex()}
        for number in range(post_count)
    ]
    return tables.sync(
        pl.DataFrame(rows, schema=COLUMNS), "texts", author="mara", key="post",
        function=lambda changed: changed, version="1", schema=COLUMNS, row_key="post",
        batch_rows=50,
    )  # fmt: skip


# No space; space for the state but not for Lance's files; space for some batches.
@pytest.mark.long
@pytest.mark.parametrize("free_bytes", [0, 16_384, 400_000])
def test_a_sync_on_a_full_disk_keeps_whole_batches_and_resumes(
    disk: SmallDisk, tables: Tables, free_bytes: int
) -> None:
    before = sync(tables, 100)
    rows_before = tables.read("texts", "mara")
    disk.fill(leave=free_bytes)
    with pytest.raises(DiskFullError, match=r"no space left on the disk of .*free space there"):
        sync(tables, 1000)
    partial_rows = tables.read("texts", "mara")
    assert partial_rows.filter(pl.col("post") < "p0100").equals(rows_before)
    assert partial_rows.height % 50 == 0
    assert (partial_rows.height > 100) == (free_bytes == 400_000)
    assert (partial_rows.height > 100) == (
        tables.data_version("texts", "mara") != before.data_version
    )

    disk.make_room()
    result = sync(tables, 1000)
    assert (result.row_count, result.computed_count) == (1000, 1000 - partial_rows.height)
    assert sync(tables, 1000).computed_count == 0


def test_a_first_sync_on_a_full_disk_can_be_repeated(disk: SmallDisk, tables: Tables) -> None:
    disk.fill(leave=60_000)
    with pytest.raises(DiskFullError):
        sync(tables, 500)
    disk.make_room()
    assert sync(tables, 500).row_count == 500


def count_rows(state: State) -> int:
    with state.read_transaction() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(empty_inputs)).scalar_one()


def insert_rows(state: State, name: str, *, count: int) -> None:
    rows = [
        {"table_uri": name, "input_key": str(number), "input_hash": bytes(900), "version": "1"}
        for number in range(count)
    ]
    with state.transaction() as connection:
        connection.execute(sa.insert(empty_inputs), rows)


def test_a_transaction_on_a_full_disk_is_rolled_back(disk: SmallDisk, state: State) -> None:
    insert_rows(state, "before", count=10)
    disk.fill()
    with pytest.raises(DiskFullError, match=r"write to the state store.*no space left"):
        insert_rows(state, "too much", count=3000)
    assert count_rows(state) == 10
    with pytest.raises(DiskFullError), state.lease("table of mara"):
        pytest.fail("a lease was granted without being stored")
    state.close()
    reopened = State.open(f"sqlite:///{disk.path}/state.sqlite")
    assert count_rows(reopened) == 10

    disk.make_room()
    insert_rows(reopened, "now", count=1000)
    assert count_rows(reopened) == 1010
    reopened.close()


def test_a_lease_released_on_a_full_disk_is_free_once_there_is_space(
    disk: SmallDisk, state: State
) -> None:
    with state.lease("a"):
        disk.fill()
    disk.make_room()
    with state.lease("a", wait_s=0) as lease:
        lease.check()
        assert lease.name == "a"


def test_a_store_that_cannot_be_created_is_an_error(disk: SmallDisk) -> None:
    disk.fill()
    with pytest.raises(TwinError, match="state store"):
        State.open(f"sqlite:///{disk.path}/new.sqlite")
    disk.make_room()
    state = State.open(f"sqlite:///{disk.path}/new.sqlite")
    assert count_rows(state) == 0
    state.close()


def test_other_errors_are_not_reported_as_a_full_disk() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
    assert is_disk_full(OSError("LanceError(IO): No space left on device (os error 28)"))
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))
    with pytest.raises(PermissionError), translate_disk_full("write", "/somewhere"):
        raise PermissionError(errno.EACCES, "Permission denied")
