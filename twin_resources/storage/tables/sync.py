"""Update a table from its upstream incrementally: only changed inputs are computed.

Scope: the loop over changed inputs, and the rows that one batch writes, deletes and records.
Out of scope: Lance calls (`store.py`), detecting changes (`changes.py`).
Method: architecture.md. Each batch is one Lance commit with its own record. A process that is
killed at any point therefore leaves complete inputs, and the next sync computes the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.storage.state.state_tables import empty_inputs
from twin_resources.storage.tables.changes import TableChanges, batches
from twin_resources.storage.tables.hashing import MODULUS, row_hashes
from twin_resources.storage.tables.store import (
    BOOKKEEPING,
    CommitRecord,
    StoredTable,
    delete_rows,
    read_columns,
    read_record,
    replace_all,
    settle,
    stage,
    to_arrow,
    upsert,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from twin_resources.storage.state.lease import Lease, Transactions
    from twin_resources.storage.state.state import State

# A key is tens of bytes, so the key list of one delete stays under a megabyte.
_MAX_KEYS_PER_DELETE = 10_000


class WrongRows(TwinError):
    """The function returned rows that the table cannot hold."""


@dataclass(frozen=True)
class SyncTask:
    """The arguments of a sync; see `Tables.sync`."""

    name: str
    key: str
    row_key: str
    version: str
    schema: Mapping[str, pl.DataType]
    function: Callable[[pl.DataFrame], pl.DataFrame]
    fetch: Callable[[Sequence[int]], pl.DataFrame]
    batch_rows: int
    announce: Callable[[range, int], object] | None = None


@dataclass
class SyncProgress:
    """The state of the table between two commits, in memory only.

    Attributes:
        stored: row key, input key and row hash of every row at the start, or None if not loaded.
        looked_up: row keys already looked up in `stored`; the fields below are newer for these.
        owner: input key by row key, for the stored rows that were looked up.
        hashes: row hash by row key, for the same rows.
        rows_of: row keys by input key, for changed and vanished inputs.
    """

    table: StoredTable
    record: CommitRecord
    stored: pl.DataFrame | None = None
    looked_up: set[str] = field(default_factory=set[str])
    owner: dict[str, str] = field(default_factory=dict[str, str])
    hashes: dict[str, bytes] = field(default_factory=dict[str, bytes])
    rows_of: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    computed: int = 0
    written: int = 0
    deleted: int = 0
    bytes_written: int = 0


def run(
    task: SyncTask, changes: TableChanges, table: StoredTable, *, empty: pl.DataFrame, lease: Lease
) -> SyncProgress:
    """Compute the inputs in `changes`, delete the vanished ones and return the progress."""
    progress = SyncProgress(table, read_record(table))
    if progress.record.rows and (changes.inputs.height or changes.vanished):
        _load_rows(progress, [*changes.inputs["key"], *changes.vanished])
    parts = list(batches(changes.inputs, rows=task.batch_rows))
    pending = set(changes.inputs["key"].to_list()) | set(changes.vanished)
    remembered = set(empty["_input_key"].to_list())
    for number, part in enumerate(parts, start=1):
        last = number == len(parts) and not changes.vanished
        keys: list[str] = part["key"].to_list()
        rows = _compute(task, part, done=progress.computed, of=changes.inputs.height)
        _write(task, progress, rows, keys=keys, pending=pending, lease=lease, last=last)
        pending.difference_update(keys)
        progress.computed += len(keys)
        _remember_empty(lease.state, table.uri, task.version, part, rows, remembered)
    _delete_vanished(task, progress, changes.vanished, lease)
    if progress.record.version != task.version or not progress.record.exact:
        lease.confirm()
        record = CommitRecord(progress.record.row_sum, progress.record.rows, task.version)
        _commit(progress, settle(progress.table, record), record)
    forget_empty(lease.state, table.uri, changes.forgotten)
    return progress


def rebuild(
    task: SyncTask,
    changes: TableChanges,
    table: StoredTable,
    *,
    schema: pa.Schema,
    empty: pl.DataFrame,
    lease: Lease,
) -> SyncProgress:
    """Rebuild the table from every input in one commit, so that readers see old or new rows only.

    Unlike `run`, an interrupted rebuild starts again from the first input.
    """
    progress = SyncProgress(table, CommitRecord(0, 0, None))
    staged: list[Any] = []
    forget_empty(lease.state, table.uri, empty["_input_key"].to_list())
    for part in batches(changes.inputs, rows=task.batch_rows):
        rows = _compute(task, part, done=progress.computed, of=changes.inputs.height)
        for row, owner in zip(rows[task.row_key], rows["_input_key"], strict=True):
            if progress.owner.setdefault(row, owner) != owner:
                raise _duplicate_key(task, row, owner, progress.owner[row])
        staged += stage(table, to_arrow(rows, schema)) if rows.height else []
        row_sum = _shifted(progress.record.row_sum, rows["_row_hash"], [])
        progress.record = CommitRecord(row_sum, progress.record.rows + rows.height, task.version)
        progress.computed += part.height
        progress.written += rows.height
        _remember_empty(lease.state, table.uri, task.version, part, rows, set())
    lease.confirm()
    _commit(progress, replace_all(table, schema, staged, record=progress.record), progress.record)
    return progress


def _load_rows(progress: SyncProgress, keys: Iterable[str]) -> None:
    """Find the stored rows of changed and vanished inputs."""
    row_key = progress.table.row_key
    progress.stored = read_columns(progress.table, [row_key, "_input_key", "_row_hash"])
    progress.rows_of = {key: set() for key in keys}
    listed = pl.DataFrame({"_input_key": list(progress.rows_of)}, schema={"_input_key": pl.String})
    _hold(progress, progress.stored.join(listed, on="_input_key", how="semi"))
    for row, owner in progress.owner.items():
        progress.rows_of[owner].add(row)


def _look_up(progress: SyncProgress, rows: Iterable[str]) -> None:
    """Load the stored rows of these keys; no Python objects are made for the other rows."""
    new = [row for row in rows if row not in progress.looked_up]
    if progress.stored is None or not new:
        return
    row_key = progress.table.row_key
    listed = pl.DataFrame({row_key: new}, schema={row_key: pl.String})
    _hold(progress, progress.stored.join(listed, on=row_key, how="semi"))
    progress.looked_up.update(new)


def _hold(progress: SyncProgress, changed_rows: pl.DataFrame) -> None:
    rows: list[str] = changed_rows[progress.table.row_key].to_list()
    progress.owner.update(zip(rows, changed_rows["_input_key"].to_list(), strict=True))
    progress.hashes.update(zip(rows, changed_rows["_row_hash"].to_list(), strict=True))
    progress.looked_up.update(rows)


def _compute(task: SyncTask, part: pl.DataFrame, *, done: int, of: int) -> pl.DataFrame:
    """Call the function on one batch and check the rows that it returns."""
    if task.announce is not None:
        task.announce(range(done, done + part.height), of)
    positions = sorted(position for listed in part["positions"].to_list() for position in listed)
    output = task.function(task.fetch(positions))
    expected = {task.key, *task.schema}
    if set(output.columns) != expected:
        raise WrongRows(
            f"write rows of {task.name}",
            found=f"columns {sorted(output.columns)}",
            next_step=f"let the function return exactly {sorted(expected)}",
        )
    try:
        rows = output.select(pl.col(name).cast(dtype) for name, dtype in task.schema.items())
    except pl.exceptions.PolarsError as error:
        raise WrongRows(
            f"write rows of {task.name}",
            found=str(error),
            next_step="let the function return the declared types",
        ) from error
    owners = output[task.key].cast(pl.String).alias("_input_key")
    _check_keys(task, rows[task.row_key], owners, set(part["key"].to_list()))
    hashes = part.select(
        pl.col("key").alias("_input_key"), pl.col("input_hash").alias("_input_hash")
    )
    return (
        rows.with_columns(owners, row_hashes(rows))
        .join(hashes, on="_input_key", how="left", maintain_order="left")
        .with_columns(pl.lit(task.version).alias("_version"))
        .select(*task.schema, *BOOKKEEPING)
    )


def _check_keys(task: SyncTask, rows: pl.Series, owners: pl.Series, keys: set[str]) -> None:
    unknown = set(owners.to_list()) - keys
    if unknown:
        raise WrongRows(
            f"write rows of {task.name}",
            found=f"rows for inputs that it did not receive: {_shown(unknown)}",
            next_step=f"let every row carry the {task.key!r} of the input that it comes from",
        )
    if rows.null_count():
        raise WrongRows(
            f"write rows of {task.name}",
            found=f"{rows.null_count()} rows without {task.row_key!r}",
            next_step="give every row a key",
        )
    duplicates = rows.filter(rows.is_duplicated()).unique()
    if len(duplicates):
        raise WrongRows(
            f"write rows of {task.name}",
            found=f"several rows with the same {task.row_key!r}: {_shown(duplicates.to_list())}",
            next_step="make the row key unique, for example from the input key and a position",
        )


def _duplicate_key(task: SyncTask, row: str, owner: str, before: str) -> WrongRows:
    return WrongRows(
        f"write rows of {task.name}",
        found=f"{task.row_key} {row!r} from input {owner!r} and from input {before!r}",
        next_step="make the row key unique, for example from the input key and a position",
    )


def _write(
    task: SyncTask,
    progress: SyncProgress,
    rows: pl.DataFrame,
    *,
    keys: list[str],
    pending: set[str],
    lease: Lease,
    last: bool,
) -> None:
    """Write the batch's rows and delete its inputs' stale rows, in one commit."""
    owners: dict[str, str] = dict(zip(rows[task.row_key], rows["_input_key"], strict=True))
    hashes: dict[str, bytes] = dict(zip(rows[task.row_key], rows["_row_hash"], strict=True))
    _look_up(progress, owners)
    stale = {row for key in keys for row in progress.rows_of.get(key, ())} - owners.keys()
    for row, owner in owners.items():
        before = progress.owner.get(row, owner)
        if before == owner:
            continue
        if before not in pending:
            raise _duplicate_key(task, row, owner, before)
        # The row moves from an input of a later batch. If the sync were interrupted here and that
        # input returned to its old content, it would look complete without this row. Its other
        # rows are therefore deleted as well.
        stale |= progress.rows_of[before] - owners.keys()
    if not owners and not stale:
        return
    replaced = [progress.hashes[row] for row in owners if row in progress.hashes]
    record = CommitRecord(
        _shifted(
            progress.record.row_sum,
            hashes.values(),
            [*replaced, *(progress.hashes[row] for row in stale)],
        ),
        progress.record.rows + len(owners) - len(replaced) - len(stale),
        task.version if last else None,
    )
    lease.confirm()
    arrow = to_arrow(rows, progress.table.dataset.schema)
    _commit(progress, upsert(progress.table, arrow, delete=sorted(stale), record=record), record)
    _forget_rows(progress, stale | owners.keys())
    for row, owner in owners.items():
        progress.owner[row] = owner
        progress.hashes[row] = hashes[row]
    progress.written += len(owners)
    progress.deleted += len(stale)


def _forget_rows(progress: SyncProgress, rows: Iterable[str]) -> None:
    for row in rows:
        before = progress.owner.pop(row, None)
        progress.hashes.pop(row, None)
        if before in progress.rows_of:
            progress.rows_of[before].discard(row)


def _delete_vanished(
    task: SyncTask, progress: SyncProgress, vanished: list[str], lease: Lease
) -> None:
    rows = sorted(row for key in vanished for row in progress.rows_of.get(key, ()))
    for start in range(0, len(rows), _MAX_KEYS_PER_DELETE):
        part = rows[start : start + _MAX_KEYS_PER_DELETE]
        last = start + _MAX_KEYS_PER_DELETE >= len(rows)
        record = CommitRecord(
            _shifted(progress.record.row_sum, [], [progress.hashes[row] for row in part]),
            progress.record.rows - len(part),
            task.version if last else None,
        )
        lease.confirm()
        _commit(progress, delete_rows(progress.table, part, record=record), record)
        _forget_rows(progress, part)
        progress.deleted += len(part)


def _commit(progress: SyncProgress, done: tuple[StoredTable, int], record: CommitRecord) -> None:
    progress.table, written = done
    progress.bytes_written += written
    progress.record = record


def _shifted(row_sum: int, added: Iterable[bytes], removed: Iterable[bytes]) -> int:
    total = row_sum + sum(int.from_bytes(hashed, "big") for hashed in added)
    total -= sum(int.from_bytes(hashed, "big") for hashed in removed)
    return total % MODULUS


def _remember_empty(
    state: Transactions,
    uri: str,
    version: str,
    part: pl.DataFrame,
    rows: pl.DataFrame,
    remembered: set[str],
) -> None:
    """Record the inputs of this batch that have no rows; drop the records of those that now do."""
    filled = set(rows["_input_key"].to_list())
    hashes = dict(zip(part["key"], part["input_hash"], strict=True))
    without_rows = [key for key in hashes if key not in filled]
    forget_empty(state, uri, [key for key in hashes if key in remembered])
    if not without_rows:
        return
    with state.transaction() as connection:
        connection.execute(
            sa.insert(empty_inputs),
            [
                {
                    "table_uri": uri,
                    "input_key": key,
                    "input_hash": hashes[key],
                    "version": version,
                }
                for key in without_rows
            ],
        )


def read_empty(state: State, uri: str) -> pl.DataFrame:
    """Return the recorded inputs of a table that have no rows, in the bookkeeping columns."""
    with state.reading() as connection:
        rows = connection.execute(
            sa.select(
                empty_inputs.c.input_key, empty_inputs.c.input_hash, empty_inputs.c.version
            ).where(empty_inputs.c.table_uri == uri)
        ).all()
    return pl.DataFrame(
        [tuple(row) for row in rows],
        schema={"_input_key": pl.String, "_input_hash": pl.Binary, "_version": pl.String},
        orient="row",
    )


def forget_empty(state: Transactions, uri: str, keys: Sequence[str]) -> None:
    """Delete the records of inputs without rows."""
    if not keys:
        return
    with state.transaction() as connection:
        connection.execute(
            sa.delete(empty_inputs).where(
                empty_inputs.c.table_uri == uri, empty_inputs.c.input_key == sa.bindparam("key")
            ),
            [{"key": key} for key in keys],
        )


def _shown(keys: Iterable[str]) -> str:
    listed = sorted(keys)
    return ", ".join(map(repr, listed[:5])) + (" …" if len(listed) > 5 else "")
