"""On a full disk tables and state say so, lose nothing, and go on once there is room.

The weights and a training's output: `tests/live/weights`, `tests/live/training`.
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
    opened = State.open(f"sqlite:///{disk.path}/state.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def tables(disk: SmallDisk, state: State) -> Tables:
    return Tables(str(disk.path / "tables"), state=state, lease_wait_s=5)


def sync(tables: Tables, count: int) -> SyncResult:
    """`count` posts that take half a kilobyte each however they are compressed, fifty a batch."""
    drawn = random.Random(0)
    rows = [
        {"post": f"p{number:04}", "text": drawn.randbytes(500).hex()} for number in range(count)
    ]
    return tables.sync(
        pl.DataFrame(rows, schema=COLUMNS), "texts", author="mara", key="post",
        function=lambda changed: changed, version="1", schema=COLUMNS, row_key="post",
        batch_rows=50,
    )  # fmt: skip


# nothing left; room for the state and not for Lance's files; room for some batches
@pytest.mark.parametrize("leave", [0, 16_384, 400_000])
def test_a_rework_on_a_full_disk_keeps_whole_batches_and_goes_on(
    disk: SmallDisk, tables: Tables, leave: int
) -> None:
    before = sync(tables, 100)
    old = tables.read("texts", "mara")
    disk.fill(leave=leave)
    with pytest.raises(DiskFullError, match=r"no space left on the disk of .*free space there"):
        sync(tables, 1000)
    kept = tables.read("texts", "mara")
    assert kept.filter(pl.col("post") < "p0100").equals(old)
    assert kept.height % 50 == 0
    assert (kept.height > 100) == (leave == 400_000)
    assert (kept.height > 100) == (tables.data_version("texts", "mara") != before.data_version)

    disk.make_room()
    done = sync(tables, 1000)
    assert (done.rows, done.computed) == (1000, 1000 - kept.height)
    assert sync(tables, 1000).computed == 0


def test_a_first_rework_on_a_full_disk_leaves_no_half_a_table(
    disk: SmallDisk, tables: Tables
) -> None:
    disk.fill(leave=60_000)
    with pytest.raises(DiskFullError):
        sync(tables, 500)
    disk.make_room()
    assert sync(tables, 500).rows == 500


def remembered(state: State) -> int:
    with state.read_transaction() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(empty_inputs)).scalar_one()


def remember(state: State, name: str, *, count: int) -> None:
    rows = [
        {"table_uri": name, "input_key": str(number), "input_hash": bytes(900), "version": "1"}
        for number in range(count)
    ]
    with state.transaction() as connection:
        connection.execute(sa.insert(empty_inputs), rows)


def test_the_state_on_a_full_disk_takes_all_of_a_transaction_or_nothing(
    disk: SmallDisk, state: State
) -> None:
    remember(state, "before", count=10)
    disk.fill()
    with pytest.raises(DiskFullError, match=r"write to the state store.*no space left"):
        remember(state, "too much", count=3000)
    assert remembered(state) == 10
    with (
        pytest.raises(DiskFullError),
        state.lease("table of mara"),
    ):
        pytest.fail("a lease that is not stored is no lease")
    state.close()
    opened = State.open(f"sqlite:///{disk.path}/state.sqlite")
    assert remembered(opened) == 10

    disk.make_room()
    remember(opened, "now", count=1000)
    assert remembered(opened) == 1010
    opened.close()


def test_a_lease_that_ended_on_a_full_disk_is_free_once_there_is_room(
    disk: SmallDisk, state: State
) -> None:
    with state.lease("a"):
        disk.fill()
    disk.make_room()
    with state.lease("a", wait_s=0) as lease:
        lease.renew()
        assert lease.name == "a"


def test_a_store_that_cannot_be_made_says_why(disk: SmallDisk) -> None:
    disk.fill()
    with pytest.raises(TwinError, match="state store"):
        State.open(f"sqlite:///{disk.path}/new.sqlite")
    disk.make_room()
    made = State.open(f"sqlite:///{disk.path}/new.sqlite")
    assert remembered(made) == 0
    made.close()


def test_only_a_full_disk_is_told_as_one() -> None:
    assert is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
    assert is_disk_full(OSError("LanceError(IO): No space left on device (os error 28)"))
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))
    with (
        pytest.raises(PermissionError),
        translate_disk_full("write", "/somewhere"),
    ):
        raise PermissionError(errno.EACCES, "Permission denied")
