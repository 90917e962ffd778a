"""Update a table from its upstream incrementally: only changed inputs are computed.

Scope: the loop over changed inputs, and the rows that one batch writes, deletes and records.
Out of scope: Lance calls (`store.py`), detecting changes (`changes.py`).
Method: architecture.md. Each batch is one Lance commit with its own record. A process that is
killed at any point leaves only complete inputs, and the next sync computes the remaining ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.storage.state.state_tables import empty_inputs
from twin_resources.storage.tables.changes import TableChanges, split_batches
from twin_resources.storage.tables.hashing import MODULUS, hash_rows, sum_hashes
from twin_resources.storage.tables.store import (
    BOOKKEEPING_COLUMNS,
    CommitRecord,
    StoredTable,
    commit_without_rows,
    delete_rows,
    merge_rows,
    read_columns,
    read_record,
    replace_all_rows,
    stage_rows,
    to_arrow,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from twin_resources.storage.state.lease import Lease
    from twin_resources.storage.state.state import State

# A key takes tens of bytes, so the key list of one delete stays under a megabyte.
_MAX_KEYS_PER_DELETE = 10_000


class InvalidRowsError(TwinError):
    """The function returned rows that the table cannot store."""


@dataclass(frozen=True)
class SyncTask:
    """The arguments of a sync; see `Tables.sync`."""

    name: str
    key: str
    row_key: str
    version: str
    schema: Mapping[str, pl.DataType]
    function: Callable[[pl.DataFrame], pl.DataFrame]
    upstream: pl.DataFrame
    batch_rows: int
    on_batch: Callable[[range, int], object] | None = None


@dataclass
class SyncProgress:
    """The state of the table between two commits, in memory only.

    Attributes:
        stored_rows: row key, input key and row hash of every row at the start; None if not loaded.
        loaded_rows: row keys already looked up in `stored_rows`. For these keys, the fields below
            are newer than `stored_rows`.
        input_by_row: input key by row key, for the stored rows that were looked up.
        hash_by_row: row hash by row key, for the same rows.
        rows_by_input: row keys by input key, for changed and removed inputs.
        computed_count: number of inputs passed to the function so far.
        written_count, deleted_count: numbers of rows so far.
    """

    table: StoredTable
    record: CommitRecord
    stored_rows: pl.DataFrame | None = None
    loaded_rows: set[str] = field(default_factory=set[str])
    input_by_row: dict[str, str] = field(default_factory=dict[str, str])
    hash_by_row: dict[str, bytes] = field(default_factory=dict[str, bytes])
    rows_by_input: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    computed_count: int = 0
    written_count: int = 0
    deleted_count: int = 0
    bytes_written: int = 0


def apply_changes(
    task: SyncTask,
    changes: TableChanges,
    table: StoredTable,
    *,
    empty_inputs: pl.DataFrame,
    lease: Lease,
) -> SyncProgress:
    """Compute the inputs in `changes`, delete rows of removed inputs and return the progress."""
    progress = SyncProgress(table, read_record(table))
    if progress.record.row_count and (changes.inputs.height or changes.removed_keys):
        _load_rows_of_inputs(progress, [*changes.inputs["key"], *changes.removed_keys])
    input_count = changes.inputs.height
    batches = list(split_batches(changes.inputs, max_rows=task.batch_rows))
    pending_keys = set(changes.inputs["key"].to_list()) | set(changes.removed_keys)
    known_empty_keys = set(empty_inputs["_input_key"].to_list())
    for number, batch in enumerate(batches, start=1):
        is_last = number == len(batches) and not changes.removed_keys
        keys: list[str] = batch["key"].to_list()
        rows = _compute_rows(task, batch, start=progress.computed_count, total=input_count)
        _write_batch(
            task, progress, rows, keys=keys, pending_keys=pending_keys, lease=lease, is_last=is_last
        )
        pending_keys.difference_update(keys)
        progress.computed_count += len(keys)
        _record_empty_inputs(lease.state, table.uri, task.version, batch, rows, known_empty_keys)
    _delete_removed_inputs(task, progress, changes.removed_keys, lease)
    if progress.record.function_version != task.version or not progress.record.exact:
        lease.check()
        record = CommitRecord(progress.record.row_sum, progress.record.row_count, task.version)
        _record_commit(progress, commit_without_rows(progress.table, record), record)
    delete_empty_inputs(lease.state, table.uri, changes.removed_empty_keys)
    return progress


def rebuild(
    task: SyncTask,
    changes: TableChanges,
    table: StoredTable,
    *,
    schema: pa.Schema,
    empty_inputs: pl.DataFrame,
    lease: Lease,
) -> SyncProgress:
    """Rebuild the table in one commit, so that readers never see a mixture of old and new rows.

    An interrupted rebuild starts again from the first input, unlike `apply_changes`.
    """
    progress = SyncProgress(table, CommitRecord(0, 0, None))
    staged_fragments: list[Any] = []
    input_count = changes.inputs.height
    delete_empty_inputs(lease.state, table.uri, empty_inputs["_input_key"].to_list())
    for batch in split_batches(changes.inputs, max_rows=task.batch_rows):
        rows = _compute_rows(task, batch, start=progress.computed_count, total=input_count)
        for row, input_key in zip(rows[task.row_key], rows["_input_key"], strict=True):
            if progress.input_by_row.setdefault(row, input_key) != input_key:
                raise _duplicate_key_error(task, row, input_key, progress.input_by_row[row])
        staged_fragments += stage_rows(table, to_arrow(rows, schema)) if rows.height else []
        row_sum = _update_row_sum(progress.record.row_sum, rows["_row_hash"], [])
        row_count = progress.record.row_count + rows.height
        progress.record = CommitRecord(row_sum, row_count, task.version)
        progress.computed_count += batch.height
        progress.written_count += rows.height
        _record_empty_inputs(lease.state, table.uri, task.version, batch, rows, set())
    lease.check()
    _record_commit(
        progress,
        replace_all_rows(table, schema, staged_fragments, record=progress.record),
        progress.record,
    )
    return progress


def _load_rows_of_inputs(progress: SyncProgress, keys: Iterable[str]) -> None:
    """Load the stored rows of changed and removed inputs."""
    row_key = progress.table.row_key
    progress.stored_rows = read_columns(progress.table, [row_key, "_input_key", "_row_hash"])
    progress.rows_by_input = {key: set() for key in keys}
    key_frame = pl.DataFrame(
        {"_input_key": list(progress.rows_by_input)}, schema={"_input_key": pl.String}
    )
    _index_rows(progress, progress.stored_rows.join(key_frame, on="_input_key", how="semi"))
    for row, input_key in progress.input_by_row.items():
        progress.rows_by_input[input_key].add(row)


def _load_rows_by_key(progress: SyncProgress, row_keys: Iterable[str]) -> None:
    """Load the stored rows of these keys; no Python objects are created for other rows."""
    missing_keys = [key for key in row_keys if key not in progress.loaded_rows]
    if progress.stored_rows is None or not missing_keys:
        return
    row_key = progress.table.row_key
    key_frame = pl.DataFrame({row_key: missing_keys}, schema={row_key: pl.String})
    _index_rows(progress, progress.stored_rows.join(key_frame, on=row_key, how="semi"))
    progress.loaded_rows.update(missing_keys)


def _index_rows(progress: SyncProgress, changed_rows: pl.DataFrame) -> None:
    rows: list[str] = changed_rows[progress.table.row_key].to_list()
    progress.input_by_row.update(zip(rows, changed_rows["_input_key"].to_list(), strict=True))
    progress.hash_by_row.update(zip(rows, changed_rows["_row_hash"].to_list(), strict=True))
    progress.loaded_rows.update(rows)


def _compute_rows(task: SyncTask, batch: pl.DataFrame, *, start: int, total: int) -> pl.DataFrame:
    """Call the function on one batch and check the rows that it returns."""
    if task.on_batch is not None:
        task.on_batch(range(start, start + batch.height), total)
    positions = sorted(
        position for batch_positions in batch["positions"].to_list() for position in batch_positions
    )
    output = task.function(task.upstream[positions])
    expected_columns = {task.key, *task.schema}
    if set(output.columns) != expected_columns:
        raise InvalidRowsError(
            f"write rows of {task.name}",
            found=f"columns {sorted(output.columns)}",
            next_step=f"make the function return exactly {sorted(expected_columns)}",
        )
    try:
        rows = output.select(pl.col(name).cast(dtype) for name, dtype in task.schema.items())
    except pl.exceptions.PolarsError as error:
        raise InvalidRowsError(
            f"write rows of {task.name}",
            found=str(error),
            next_step="make the function return the declared types",
        ) from error
    input_keys = output[task.key].cast(pl.String).alias("_input_key")
    _check_keys(task, rows[task.row_key], input_keys, set(batch["key"].to_list()))
    hashes = batch.select(
        pl.col("key").alias("_input_key"), pl.col("input_hash").alias("_input_hash")
    )
    return (
        rows.with_columns(input_keys, hash_rows(rows))
        .join(hashes, on="_input_key", how="left", maintain_order="left")
        .with_columns(pl.lit(task.version).alias("_version"))
        .select(*task.schema, *BOOKKEEPING_COLUMNS)
    )


def _check_keys(task: SyncTask, rows: pl.Series, input_keys: pl.Series, keys: set[str]) -> None:
    unknown_keys = set(input_keys.to_list()) - keys
    if unknown_keys:
        raise InvalidRowsError(
            f"write rows of {task.name}",
            found=f"rows for inputs that were not in the batch: {_format_keys(unknown_keys)}",
            next_step=f"put the {task.key!r} of the source input into every row",
        )
    if rows.null_count():
        raise InvalidRowsError(
            f"write rows of {task.name}",
            found=f"{rows.null_count()} rows without {task.row_key!r}",
            next_step="give every row a key",
        )
    duplicates = rows.filter(rows.is_duplicated()).unique()
    if len(duplicates):
        raise InvalidRowsError(
            f"write rows of {task.name}",
            found=f"several rows with the same {task.row_key!r}: "
            f"{_format_keys(duplicates.to_list())}",
            next_step="make the row key unique, for example from the input key and a position",
        )


def _duplicate_key_error(task: SyncTask, row: str, key: str, previous: str) -> InvalidRowsError:
    return InvalidRowsError(
        f"write rows of {task.name}",
        found=f"{task.row_key} {row!r} from input {key!r} and from input {previous!r}",
        next_step="make the row key unique, for example from the input key and a position",
    )


def _write_batch(
    task: SyncTask,
    progress: SyncProgress,
    rows: pl.DataFrame,
    *,
    keys: list[str],
    pending_keys: set[str],
    lease: Lease,
    is_last: bool,
) -> None:
    """Write the batch's rows and delete its inputs' stale rows, in one commit."""
    input_by_row: dict[str, str] = dict(zip(rows[task.row_key], rows["_input_key"], strict=True))
    hashes: dict[str, bytes] = dict(zip(rows[task.row_key], rows["_row_hash"], strict=True))
    _load_rows_by_key(progress, input_by_row)
    stale_rows = {
        row for key in keys for row in progress.rows_by_input.get(key, ())
    } - input_by_row.keys()
    for row, input_key in input_by_row.items():
        previous_key = progress.input_by_row.get(row, input_key)
        if previous_key == input_key:
            continue
        if previous_key not in pending_keys:
            raise _duplicate_key_error(task, row, input_key, previous_key)
        # The row moves from an input of a later batch. If the sync stopped after this commit and
        # that input returned to its old content, the input would look complete without this row.
        # Its other rows are therefore also deleted.
        stale_rows |= progress.rows_by_input[previous_key] - input_by_row.keys()
    if not input_by_row and not stale_rows:
        return
    replaced_rows = progress.hash_by_row.keys() & input_by_row.keys()
    replaced_hashes = [progress.hash_by_row[row] for row in replaced_rows]
    record = CommitRecord(
        _update_row_sum(
            progress.record.row_sum,
            hashes.values(),
            [*replaced_hashes, *(progress.hash_by_row[row] for row in stale_rows)],
        ),
        progress.record.row_count + len(input_by_row) - len(replaced_hashes) - len(stale_rows),
        task.version if is_last else None,
    )
    lease.check()
    arrow_rows = to_arrow(rows, progress.table.dataset.schema)
    _record_commit(
        progress,
        merge_rows(progress.table, arrow_rows, delete=sorted(stale_rows), record=record),
        record,
    )
    _unindex_rows(progress, stale_rows | input_by_row.keys())
    for row, input_key in input_by_row.items():
        progress.input_by_row[row] = input_key
        progress.hash_by_row[row] = hashes[row]
    progress.written_count += len(input_by_row)
    progress.deleted_count += len(stale_rows)


def _unindex_rows(progress: SyncProgress, rows: Iterable[str]) -> None:
    for row in rows:
        input_key = progress.input_by_row.pop(row, None)
        progress.hash_by_row.pop(row, None)
        if input_key in progress.rows_by_input:
            progress.rows_by_input[input_key].discard(row)


def _delete_removed_inputs(
    task: SyncTask, progress: SyncProgress, removed_keys: list[str], lease: Lease
) -> None:
    rows = sorted(row for key in removed_keys for row in progress.rows_by_input.get(key, ()))
    for start in range(0, len(rows), _MAX_KEYS_PER_DELETE):
        batch = rows[start : start + _MAX_KEYS_PER_DELETE]
        is_last = start + _MAX_KEYS_PER_DELETE >= len(rows)
        record = CommitRecord(
            _update_row_sum(
                progress.record.row_sum, [], [progress.hash_by_row[row] for row in batch]
            ),
            progress.record.row_count - len(batch),
            task.version if is_last else None,
        )
        lease.check()
        _record_commit(progress, delete_rows(progress.table, batch, record=record), record)
        _unindex_rows(progress, batch)
        progress.deleted_count += len(batch)


def _record_commit(
    progress: SyncProgress, commit: tuple[StoredTable, int], record: CommitRecord
) -> None:
    progress.table, bytes_written = commit
    progress.bytes_written += bytes_written
    progress.record = record


def _update_row_sum(
    row_sum: int, added_hashes: Iterable[bytes], removed_hashes: Iterable[bytes]
) -> int:
    return (row_sum + sum_hashes(added_hashes) - sum_hashes(removed_hashes)) % MODULUS


def _record_empty_inputs(
    state: State,
    uri: str,
    version: str,
    batch: pl.DataFrame,
    rows: pl.DataFrame,
    known_empty_keys: set[str],
) -> None:
    """Record the batch's inputs without rows; drop the records of inputs that now have rows."""
    nonempty_keys = set(rows["_input_key"].to_list())
    hashes = dict(zip(batch["key"], batch["input_hash"], strict=True))
    empty_keys = [key for key in hashes if key not in nonempty_keys]
    delete_empty_inputs(state, uri, [key for key in hashes if key in known_empty_keys])
    if not empty_keys:
        return
    with state.transaction() as connection:
        connection.execute(
            sa.insert(empty_inputs),
            [
                {"table_uri": uri, "input_key": key, "input_hash": hashes[key], "version": version}
                for key in empty_keys
            ],
        )


def read_empty_inputs(state: State, uri: str) -> pl.DataFrame:
    """Return the recorded inputs of a table that have no rows, in the bookkeeping columns."""
    with state.read_transaction() as connection:
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


def delete_empty_inputs(state: State, uri: str, keys: Sequence[str]) -> None:
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


def _format_keys(keys: Iterable[str]) -> str:
    sorted_keys = sorted(keys)
    return ", ".join(map(repr, sorted_keys[:5])) + (" …" if len(sorted_keys) > 5 else "")
