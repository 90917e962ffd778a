"""Check that a table version is intact: its files exist, and its rows match their hashes."""

from __future__ import annotations

from typing import Any

from twin_resources.storage.storage_faults import DamagedError, translate_storage_errors
from twin_resources.storage.tables.hashing import hash_rows
from twin_resources.storage.tables.store import StoredTable, read_columns, scan_batches

_BATCH_ROWS = 4_096  # rows read at a time


def find_damaged_indexes(table: StoredTable) -> tuple[str, ...]:
    """Return the names of damaged indexes, which make searches fail although the rows are intact.

    Raises:
        StorageError: the indexes cannot be read for another reason.
    """
    dataset: Any = table.dataset
    damaged_indexes: list[str] = []
    for index in dataset.describe_indices():
        try:
            with translate_storage_errors(
                f"open the index {index.name}", table.uri, default=DamagedError
            ):
                dataset.stats.index_stats(index.name)
        except DamagedError:
            damaged_indexes.append(str(index.name))
    return tuple(damaged_indexes)


def check_table(table: StoredTable, *, verify_values: bool = False) -> None:
    """Check that the opened version is intact.

    Args:
        verify_values: whether to recompute each row's hash from every column. Otherwise only the
            stored hashes are read (32 bytes per row), which still opens every data file.

    Raises:
        DamagedError: a file is missing or truncated, or a row differs from the written one.
        StorageError: the table cannot be read.
    """
    if not verify_values:
        read_columns(table, ["_row_hash"])
        return
    for batch in scan_batches(table, [*table.columns, "_row_hash"], batch_size=_BATCH_ROWS):
        if not hash_rows(batch.select(table.columns)).equals(batch["_row_hash"], check_names=False):
            raise DamagedError.for_place(
                table.uri, f"check the table {table.uri}", "a row differs from the written one"
            )
