"""Upkeep of a table: few fragments, current indexes, and rows that are really gone.

Scope: compaction, indexes, clean-up of old versions, physical deletion.
Out of scope: what rows say, and the lease (the caller holds it).
Method: https://lance.org/guide/performance/: Lance keeps deleted rows decodable until
their fragment is compacted and every version that names the old file is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from twin_resources.storage.tables.hashing import MODULUS, row_hashes, sum_hashes
from twin_resources.storage.tables.store import (
    BOOKKEEPING,
    CommitRecord,
    StoredTable,
    at_version,
    delete_rows,
    quoted,
    read_columns,
    read_record,
    settle,
    to_arrow,
    upsert,
)

if TYPE_CHECKING:
    import polars as pl

    from twin_resources.storage.state.lease import Lease

# A day of small edits makes tens of fragments; each costs every later scan a file.
MAX_SMALL_FRAGMENTS = 64
# Larger fragments are left alone, so that tidying up costs what was added, not the table.
ROWS_PER_FRAGMENT = 20_000
KEEP_VERSIONS_FOR = timedelta(days=14)
# What one upkeep rewrites at most; the rest waits for the next. 200,000 passages are 400 MB.
MAX_ROWS_AT_ONCE = 200_000
# Each write adds a segment to every index, and each segment costs every search.
MAX_SEGMENTS = 8


@dataclass(frozen=True)
class CompactionResult:
    """What `keep` did.

    Attributes:
        fragments: of the table now.
        merged: fragments that were rewritten into fewer.
        indexes: names of those whose segments were merged.
        bytes_removed: files of old versions.
    """

    fragments: int
    merged: int
    indexes: tuple[str, ...]
    bytes_removed: int


@dataclass(frozen=True)
class DeletedRows:
    """What `forget` removed.

    Attributes:
        rows: deleted from the newest version (they may all have been gone before).
        untagged: tags that were taken off versions which held some of the rows.
        bytes_removed: files of old versions.
    """

    rows: int
    untagged: tuple[str, ...]
    bytes_removed: int


def compact_fragments(table: StoredTable, lease: Lease) -> tuple[StoredTable, int]:
    """Merge small fragments when there are many, and drop untagged versions of two weeks ago.

    Returns the table as it is then, and the bytes written.
    """
    parts = table.dataset.get_fragments()
    small = sum(part.physical_rows < ROWS_PER_FRAGMENT for part in parts)
    if small <= MAX_SMALL_FRAGMENTS:
        return table, 0
    record = read_record(table)
    lease.confirm()
    before = _file_sizes(table)
    table.dataset.optimize.compact_files(target_rows_per_fragment=ROWS_PER_FRAGMENT)
    table, settled = settle(newest(table), replace(record, exact=True))
    compacted = sum(size for path, size in _file_sizes(table).items() if path not in before)
    table.dataset.cleanup_old_versions(KEEP_VERSIONS_FOR, error_if_tagged_old_versions=False)
    return table, compacted + settled


def compact(table: StoredTable, lease: Lease) -> CompactionResult:
    """Merge small and half-deleted fragments and index segments, and drop old untagged versions.

    What is as it should be is left as it is, and at most `MAX_ROWS_AT_ONCE` rows are rewritten: a
    bare `optimize()` of Lance rewrites the whole table after a change of one row in a hundred. The
    index of vectors is left to those who know how it is made (`retrieval/index.py`): Lance would
    merge its partitions into few large ones.
    """
    record = read_record(table)
    lease.confirm()
    done = table.dataset.optimize.compact_files(
        target_rows_per_fragment=ROWS_PER_FRAGMENT, max_source_rows=MAX_ROWS_AT_ONCE
    )
    if done.fragments_removed:
        table, _ = settle(newest(table), replace(record, exact=True))
    segments = {
        index.name: len(index.segments)
        for index in table.dataset.describe_indices()
        if not index.index_type.upper().startswith("IVF")
    }
    crowded = sorted(name for name, count in segments.items() if count > MAX_SEGMENTS)
    for name in crowded:
        lease.confirm()
        table.dataset.optimize.optimize_indices(
            index_names=[name], num_indices_to_merge=segments[name]
        )
        table = newest(table)
    lease.confirm()
    cleaned = table.dataset.cleanup_old_versions(
        KEEP_VERSIONS_FOR, error_if_tagged_old_versions=False
    )
    fragments = len(table.dataset.get_fragments())
    return CompactionResult(
        fragments, done.fragments_removed, tuple(crowded), cleaned.bytes_removed
    )


def _where(table: StoredTable, keys: Sequence[str]) -> str:
    return f"`{table.row_key}` IN ({', '.join(quoted(key) for key in keys)})"


def _replace(
    table: StoredTable, rows: pl.DataFrame, record: CommitRecord
) -> tuple[StoredTable, CommitRecord]:
    """Write other values into stored rows; whose they are, and of which input, stays."""
    key, hashed = table.row_key, "_row_hash"
    stored = read_columns(table, [key, *BOOKKEEPING], where=_where(table, rows[key].to_list()))
    rows = rows.select(table.columns)
    changed = rows.with_columns(row_hashes(rows).alias(hashed)).join(
        stored.drop(hashed), on=key, validate="1:1"
    )
    difference = sum_hashes(changed[hashed]) - sum_hashes(stored[hashed])
    record = replace(record, row_sum=(record.row_sum + difference) % MODULUS)
    schema = table.dataset.schema
    written = to_arrow(changed.select(schema.names), schema)
    table, _ = upsert(table, written, delete=(), record=record)
    return table, record


def _file_sizes(table: StoredTable) -> dict[str, int]:
    # Compaction writes past the counters of the data set, so its files are counted by their size.
    files = [file for part in table.dataset.get_fragments() for file in part.metadata.files]
    return {file.path: file.file_size_bytes or 0 for file in files}


def newest(table: StoredTable) -> StoredTable:
    """The newest version of the same table."""
    return at_version(table, table.dataset.latest_version)


def ensure_index(
    table: StoredTable, column: str, kind: str, options: dict[str, Any], lease: Lease
) -> StoredTable:
    """Make a scalar index when the column has none of this kind, else bring it up to date."""
    there = {
        (name, index.index_type.lower())
        for index in table.dataset.describe_indices()
        for name in index.field_names
    }
    if (column, "inverted" if kind == "FTS" else kind.lower()) in there:
        return optimize_indices(table, lease)
    lease.confirm()
    table.dataset.create_scalar_index(column, kind, replace=False, **options)
    return newest(table)


def optimize_indices(table: StoredTable, lease: Lease) -> StoredTable:
    """Add the rows written since to the indexes; nothing new, no new version.

    They become a segment of their own: merging it at once would write each index again (5 MB
    instead of 17 KB for ten of 30,000 passages). `keep` merges segments when there are many.
    """
    lease.confirm()
    table.dataset.optimize.optimize_indices(num_indices_to_merge=0)
    return newest(table)


def forget(
    table: StoredTable, keys: Sequence[str], lease: Lease, *, replaced: pl.DataFrame | None = None
) -> DeletedRows:
    """Delete rows by row key so that no file of the table holds them, in any version or index.

    Args:
        replaced: rows (user columns) that stay with other values; what they were goes likewise.
    """
    where = _where(table, keys)
    rows = read_columns(table, [table.row_key, "_row_hash"], where=where)
    record = read_record(table)
    lease.confirm()
    if replaced is not None and replaced.height:
        table, record = _replace(table, replaced, record)
        where += f" OR {_where(table, replaced[table.row_key].to_list())}"
    if rows.height:
        record = replace(
            record,
            row_sum=(record.row_sum - sum_hashes(rows["_row_hash"])) % MODULUS,
            rows=record.rows - rows.height,
        )
        table, _ = delete_rows(table, rows[table.row_key].to_list(), record=record)
    table.dataset.optimize.compact_files(
        target_rows_per_fragment=ROWS_PER_FRAGMENT, materialize_deletions_threshold=0.0
    )
    table = newest(table)
    for index in table.dataset.describe_indices():
        if index.index_type.upper().startswith("IVF"):
            # Retrained by Lance it finds a third less (two partitions, where it was made with
            # sixty), so who made it makes it again; till then vectors are scanned.
            table.dataset.drop_index(index.name)
        else:
            # A full text index keeps the words of deleted rows until it is rebuilt.
            table.dataset.optimize.optimize_indices(index_names=[index.name], retrain=True)
        table = newest(table)
    table, _ = settle(table, replace(record, exact=True))
    untagged = tuple(
        tag
        for tag, tag_fields in table.dataset.tags.list().items()
        if at_version(table, tag_fields["version"]).dataset.count_rows(filter=where)
    )
    for tag in untagged:
        table.dataset.tags.delete(tag)
    # Nobody else writes (we hold the lease), so files that belong to no version are leftovers.
    cleaned = table.dataset.cleanup_old_versions(
        timedelta(0), delete_unverified=True, error_if_tagged_old_versions=False
    )
    return DeletedRows(rows.height, untagged, cleaned.bytes_removed)
