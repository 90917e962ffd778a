"""Check that a version of a table is whole: its files exist, and its rows match its record.

Scope: the quick check of `twin doctor` and the thorough one of backup and repair.
Out of scope: acting on the result.
"""

from __future__ import annotations

from typing import Any

from twin_resources.storage.storage_faults import Damaged, faults_told
from twin_resources.storage.tables.hashing import MODULUS, row_hashes, sum_hashes
from twin_resources.storage.tables.store import StoredTable, batches_of, read_columns, read_record

_ROWS = 4_096  # read at once


def check_indexes(table: StoredTable) -> tuple[str, ...]:
    """Return names of damaged indexes, with which searches fail although the rows are whole.

    Raises:
        StorageFault: they cannot be read for another reason.
    """
    dataset: Any = table.dataset
    damaged: list[str] = []
    for index in dataset.describe_indices():
        try:
            with faults_told(f"open the index {index.name}", table.uri, otherwise=Damaged):
                dataset.stats.index_stats(index.name)
        except Damaged:
            damaged.append(str(index.name))
    return tuple(damaged)


def check_table(table: StoredTable, *, every_value: bool = False) -> None:
    """Check that the opened version is whole.

    Args:
        every_value: whether to hash each row again from every column; otherwise only the stored
            hashes are read, 32 bytes per row, which still opens every file of rows.

    Raises:
        Damaged: a file is missing or truncated, or rows differ from the written ones.
        StorageFault: it cannot be read.
    """
    tried = f"check the table {table.uri}"
    record = read_record(table)
    if not every_value:
        hashes = read_columns(table, ["_row_hash"])["_row_hash"]
        found, rows = sum_hashes(hashes), len(hashes)
    else:
        found, rows = 0, 0
        for part in batches_of(table, [*table.columns, "_row_hash"], rows=_ROWS):
            hashes = row_hashes(part.select(table.columns))
            if not hashes.equals(part["_row_hash"], check_names=False):
                raise Damaged.at(table.uri, tried, "a row is not as it was written")
            found, rows = (found + sum_hashes(hashes)) % MODULUS, rows + part.height
    if (found, rows) != (record.row_sum, record.rows):
        detail = f"{rows:,} rows, where {record.rows:,} others were written"
        raise Damaged.at(table.uri, tried, detail)
