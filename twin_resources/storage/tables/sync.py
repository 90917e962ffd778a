"""Update a table from its upstream incrementally: only changed inputs are computed.

Each row has the key and hash of its input, and the version of the function. A batch is one Lance
commit, so a process that is killed at any point leaves only complete inputs, and the next sync
computes the remaining ones. A row key belongs to one input for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.storage.state.state_tables import empty_inputs
from twin_resources.storage.tables.changes import TableChanges, split_batches
from twin_resources.storage.tables.hashing import hash_rows
from twin_resources.storage.tables.store import (
    BOOKKEEPING_COLUMNS,
    StoredTable,
    delete_rows,
    merge_rows,
    read_columns,
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
    """The table after the newest commit, and the numbers of inputs, rows and bytes so far."""

    table: StoredTable
    computed_count: int = 0
    written_count: int = 0
    deleted_count: int = 0
    bytes_written: int = 0

    def add_commit(self, commit: tuple[StoredTable, int]) -> None:
        self.table, bytes_written = commit
        self.bytes_written += bytes_written


def apply_changes(
    task: SyncTask,
    changes: TableChanges,
    table: StoredTable,
    *,
    empty_inputs: pl.DataFrame,
    lease: Lease,
    new_schema: pa.Schema | None = None,
) -> SyncProgress:
    """Compute the changed inputs, one commit a batch, and delete the rows of removed inputs.

    Args:
        empty_inputs: the recorded inputs that have no rows.
        new_schema: if given, every input is computed and all rows are replaced in one commit, so
            that readers never see a mixture of old and new rows; an interrupted one starts again.

    Raises:
        InvalidRowsError: the function's rows do not fit, or two inputs gave one row key.
    """
    progress = SyncProgress(table)
    if new_schema is None and changes.inputs.is_empty() and not changes.removed_keys:
        delete_empty_inputs(lease.state, table.uri, changes.removed_empty_keys)
        return progress
    staged_fragments: list[Any] = []
    owners = pl.DataFrame(schema={task.row_key: pl.String, "_input_key": pl.String})
    if new_schema is None:
        owners = read_columns(table, owners.columns)
    else:
        delete_empty_inputs(lease.state, table.uri, empty_inputs["_input_key"].to_list())
    for batch in split_batches(changes.inputs, max_rows=task.batch_rows):
        rows = _compute_rows(
            task, batch, start=progress.computed_count, total=changes.inputs.height
        )
        is_in_batch = pl.col("_input_key").is_in(batch["key"].implode())
        other_owners = owners.filter(~is_in_batch)
        _refuse_shared_keys(task, rows, other_owners)
        former_rows = owners.filter(is_in_batch)
        stale_rows = former_rows.join(rows, on=task.row_key, how="anti")[task.row_key].to_list()
        if new_schema is not None:
            staged_fragments += stage_rows(table, to_arrow(rows, new_schema)) if rows.height else []
        elif rows.height or stale_rows:
            lease.check()
            arrow_rows = to_arrow(rows, progress.table.dataset.schema)
            progress.add_commit(merge_rows(progress.table, arrow_rows, delete=stale_rows))
        owners = pl.concat([other_owners, rows.select(owners.columns)])
        progress.computed_count += batch.height
        progress.written_count += rows.height
        progress.deleted_count += len(stale_rows)
        _record_empty_inputs(lease.state, table.uri, task.version, batch, rows, empty_inputs)
    if new_schema is not None:
        lease.check()
        progress.add_commit(replace_all_rows(table, new_schema, staged_fragments))
    removed_keys = pl.Series(changes.removed_keys, dtype=pl.String)
    removed_rows = owners.filter(pl.col("_input_key").is_in(removed_keys.implode()))
    for rows in removed_rows.iter_slices(_MAX_KEYS_PER_DELETE):
        lease.check()
        progress.add_commit(delete_rows(progress.table, rows[task.row_key].to_list()))
        progress.deleted_count += rows.height
    delete_empty_inputs(lease.state, table.uri, changes.removed_empty_keys)
    return progress


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


def _refuse_shared_keys(task: SyncTask, rows: pl.DataFrame, owners: pl.DataFrame) -> None:
    shared = rows.select(task.row_key, "_input_key").join(owners, on=task.row_key, suffix="_stored")
    for row, key, previous in shared.iter_rows():
        raise InvalidRowsError(
            f"write rows of {task.name}",
            found=f"{task.row_key} {row!r} from input {key!r} and from input {previous!r}",
            next_step="make the row key unique, for example from the input key and a position",
        )


def _record_empty_inputs(
    state: State,
    uri: str,
    version: str,
    batch: pl.DataFrame,
    rows: pl.DataFrame,
    known_empty_inputs: pl.DataFrame,
) -> None:
    """Record the batch's inputs without rows; drop the records of inputs that now have rows."""
    nonempty_keys = set(rows["_input_key"].to_list())
    hashes = dict(zip(batch["key"], batch["input_hash"], strict=True))
    empty_keys = [key for key in hashes if key not in nonempty_keys]
    known_empty_keys = set(known_empty_inputs["_input_key"].to_list())
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
