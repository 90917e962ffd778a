"""Maintain a table: compact fragments, update indexes and delete rows physically.

Scope: compaction, indexes, clean-up of old versions and physical deletion.
Out of scope: the meaning of rows, and the lease (the caller holds it).
Method: https://lance.org/guide/performance/. Deleted rows remain decodable until Lance compacts
their fragment and removes every version that references the old file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from twin_resources.storage.tables.hashing import hash_rows
from twin_resources.storage.tables.store import (
    BOOKKEEPING_COLUMNS,
    StoredTable,
    checkout_version,
    delete_rows,
    merge_rows,
    quote_literal,
    read_columns,
    to_arrow,
)

if TYPE_CHECKING:
    import polars as pl

    from twin_resources.storage.state.lease import Lease

# A day of small edits creates tens of fragments, and every later scan opens one file per fragment.
MAX_SMALL_FRAGMENTS = 64
# Larger fragments are not rewritten, so the cost of compaction follows the added rows.
ROWS_PER_FRAGMENT = 20_000
KEEP_VERSIONS_FOR = timedelta(days=14)
# Rows rewritten per run; the next run continues. 200,000 passages take 400 MB.
MAX_ROWS_PER_COMPACTION = 200_000
# Each write adds a segment to every index, and every search reads each segment.
MAX_SEGMENTS = 8


@dataclass(frozen=True)
class CompactionResult:
    """The result of `compact`.

    Attributes:
        fragment_count: number of fragments afterwards.
        merged_count: number of fragments that were merged into fewer.
        merged_indexes: names of the indexes whose segments were merged.
        bytes_removed: size of the removed files of old versions.
    """

    fragment_count: int
    merged_count: int
    merged_indexes: tuple[str, ...]
    bytes_removed: int


@dataclass(frozen=True)
class DeletedRows:
    """The result of `forget`.

    Attributes:
        row_count: number of rows deleted from the newest version; 0 if it contained none of them.
        removed_tags: tags removed from versions that contained some of the rows.
        bytes_removed: size of the removed files of old versions.
    """

    row_count: int
    removed_tags: tuple[str, ...]
    bytes_removed: int


def compact_fragments(table: StoredTable, lease: Lease) -> tuple[StoredTable, int]:
    """Merge small fragments if there are many, and then drop untagged versions older than 14 days.

    Returns:
        The table afterwards, and the bytes written.
    """
    fragments = table.dataset.get_fragments()
    if sum(item.physical_rows < ROWS_PER_FRAGMENT for item in fragments) <= MAX_SMALL_FRAGMENTS:
        return table, 0
    lease.check()
    # The dataset's counters miss the writes of a compaction, so file sizes are added up.
    existing_files = _file_sizes(table)
    table.dataset.optimize.compact_files(target_rows_per_fragment=ROWS_PER_FRAGMENT)
    table = open_newest_version(table)
    table.dataset.cleanup_old_versions(KEEP_VERSIONS_FOR, error_if_tagged_old_versions=False)
    new_sizes = (size for path, size in _file_sizes(table).items() if path not in existing_files)
    return table, sum(new_sizes)


def compact(table: StoredTable, lease: Lease) -> CompactionResult:
    """Merge small or partly deleted fragments and index segments, and drop old untagged versions.

    One call rewrites at most `MAX_ROWS_PER_COMPACTION` rows. Lance's plain `optimize()` would
    rewrite the whole table after a change of one row in a hundred. `retrieval/index.py` maintains
    the vector index, because Lance would merge its partitions into a few large ones.
    """
    lease.check()
    compaction = table.dataset.optimize.compact_files(
        target_rows_per_fragment=ROWS_PER_FRAGMENT, max_source_rows=MAX_ROWS_PER_COMPACTION
    )
    if compaction.fragments_removed:
        table = open_newest_version(table)
    segment_counts = {
        index.name: len(index.segments)
        for index in table.dataset.describe_indices()
        if not index.index_type.upper().startswith("IVF")
    }
    merged_indexes = sorted(name for name, count in segment_counts.items() if count > MAX_SEGMENTS)
    for name in merged_indexes:
        lease.check()
        table.dataset.optimize.optimize_indices(
            index_names=[name], num_indices_to_merge=segment_counts[name]
        )
        table = open_newest_version(table)
    lease.check()
    cleanup = table.dataset.cleanup_old_versions(
        KEEP_VERSIONS_FOR, error_if_tagged_old_versions=False
    )
    fragment_count = len(table.dataset.get_fragments())
    return CompactionResult(
        fragment_count, compaction.fragments_removed, tuple(merged_indexes), cleanup.bytes_removed
    )


def _key_filter(table: StoredTable, keys: Sequence[str]) -> str:
    return f"`{table.row_key}` IN ({', '.join(quote_literal(key) for key in keys)})"


def _replace_rows(table: StoredTable, rows: pl.DataFrame) -> StoredTable:
    """Replace the values of stored rows; their keys and input keys do not change."""
    key = table.row_key
    bookkeeping = [name for name in BOOKKEEPING_COLUMNS if name != "_row_hash"]
    stored_rows = read_columns(
        table, [key, *bookkeeping], where=_key_filter(table, rows[key].to_list())
    )
    rows = rows.select(table.columns)
    changed_rows = rows.with_columns(hash_rows(rows)).join(stored_rows, on=key, validate="1:1")
    schema = table.dataset.schema
    return merge_rows(table, to_arrow(changed_rows.select(schema.names), schema), delete=())[0]


def _file_sizes(table: StoredTable) -> dict[str, int]:
    files = [file for fragment in table.dataset.get_fragments() for file in fragment.metadata.files]
    return {file.path: file.file_size_bytes or 0 for file in files}


def open_newest_version(table: StoredTable) -> StoredTable:
    """Return the newest version of a table."""
    return checkout_version(table, table.dataset.latest_version)


def ensure_index(table: StoredTable, column: str, lease: Lease) -> StoredTable:
    """Create a BTREE index on a column, or add new rows to the existing one.

    New rows become a separate segment. Merging it immediately would rewrite the index. `compact`
    merges segments if there are many.
    """
    lease.check()
    if any(
        column in index.field_names and index.index_type.lower() == "btree"
        for index in table.dataset.describe_indices()
    ):
        table.dataset.optimize.optimize_indices(num_indices_to_merge=0)
    else:
        table.dataset.create_scalar_index(column, "BTREE", replace=False)
    return open_newest_version(table)


def forget(
    table: StoredTable, keys: Sequence[str], lease: Lease, *, updates: pl.DataFrame | None = None
) -> DeletedRows:
    """Delete rows by row key from every file, version and index of the table.

    Args:
        updates: rows (user columns) to keep with new values; their old values are deleted too.
    """
    row_filter = _key_filter(table, keys)
    deleted_keys = read_columns(table, [table.row_key], where=row_filter)[table.row_key].to_list()
    lease.check()
    if updates is not None and updates.height:
        table = _replace_rows(table, updates)
        row_filter += f" OR {_key_filter(table, updates[table.row_key].to_list())}"
    if deleted_keys:
        table, _ = delete_rows(table, deleted_keys)
    table.dataset.optimize.compact_files(
        target_rows_per_fragment=ROWS_PER_FRAGMENT, materialize_deletions_threshold=0.0
    )
    table = open_newest_version(table)
    for index in table.dataset.describe_indices():
        if index.index_type.upper().startswith("IVF"):
            # An index retrained by Lance finds a third fewer matches (two partitions instead of
            # sixty). `retrieval/index.py` rebuilds it; until then, searches scan the vectors.
            table.dataset.drop_index(index.name)
        else:
            # A full text index keeps the words of deleted rows until it is rebuilt.
            table.dataset.optimize.optimize_indices(index_names=[index.name], retrain=True)
        table = open_newest_version(table)
    removed_tags = tuple(
        tag
        for tag, tag_fields in table.dataset.tags.list().items()
        if checkout_version(table, tag_fields["version"]).dataset.count_rows(filter=row_filter)
    )
    for tag in removed_tags:
        table.dataset.tags.delete(tag)
    # The lease excludes other writers, so files that belong to no version are leftovers.
    cleanup = table.dataset.cleanup_old_versions(
        timedelta(0), delete_unverified=True, error_if_tagged_old_versions=False
    )
    return DeletedRows(len(deleted_keys), removed_tags, cleanup.bytes_removed)
