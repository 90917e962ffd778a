"""Provide versioned Lance tables, one per asset and author, to every stage.

Scope: the operations that assets use: sync, read, data_version, tag, forget.
Out of scope: the meaning of the rows; how Lance stores them (`store.py`).
Method: architecture.md; Lance (https://lance.org), openable as
`lancedb.connect(f"{base}/{author}").open_table(asset)`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_resources.errors import TwinError
from twin_resources.storage.storage_faults import translate_storage_errors
from twin_resources.storage.tables import maintenance, store, sync
from twin_resources.storage.tables.changes import find_changes, hash_inputs
from twin_resources.storage.tables.hashing import hash_rows
from twin_resources.storage.tables.maintenance import CompactionResult, DeletedRows
from twin_resources.storage.tables.newest_versions import lease_name, record_write
from twin_resources.storage.tables.rows_by_id import sql_in_filter
from twin_resources.storage.tables.store import StoredTable, TableNotFoundError
from twin_resources.wait_limits import MAX_WORKING_S

if TYPE_CHECKING:
    from twin_resources.storage.state.lease import Lease
    from twin_resources.storage.state.state import State

BATCH_ROWS = 1000


@dataclass(frozen=True)
class SyncResult:
    """The result of one sync.

    Attributes:
        data_version: 64 hex digits; equal for equal rows, schema and function version.
        row_count: number of rows in the table after the sync.
        computed_count: number of inputs passed to the function.
        written_count, deleted_count: numbers of rows.
        lance_version: the table's version after the sync.
        bytes_written: bytes written to the table's storage, manifests included.
    """

    asset: str
    author: str
    data_version: str
    row_count: int
    computed_count: int
    written_count: int
    deleted_count: int
    lance_version: int
    bytes_written: int

    @classmethod
    def from_progress(cls, asset: str, author: str, progress: sync.SyncProgress) -> SyncResult:
        return cls(
            asset,
            author,
            data_version=store.read_data_version(progress.table),
            row_count=progress.table.row_count,
            computed_count=progress.computed_count,
            written_count=progress.written_count,
            deleted_count=progress.deleted_count,
            lance_version=progress.table.dataset.version,
            bytes_written=progress.bytes_written,
        )

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of Dagster's materialization: numbers, never the text of a row."""
        return {
            "dagster/row_count": self.row_count,
            "computed": self.computed_count,
            "written": self.written_count,
            "deleted": self.deleted_count,
            "bytes_written": self.bytes_written,
            "lance_version": self.lance_version,
        }


class Tables:
    """All tables under one base URI (a folder, or `s3://bucket/prefix`)."""

    def __init__(self, base_uri: str, *, state: State, lease_wait_s: float = MAX_WORKING_S) -> None:
        self.base_uri = str(base_uri).rstrip("/")
        self.state = state
        self.lease_wait_s = lease_wait_s

    def uri(self, asset: str, author: str) -> str:
        """Return the address of a table, whether or not it exists."""
        return f"{self.base_uri}/{author}/{asset}.lance"

    def sync(
        self,
        upstream: pl.DataFrame,
        target_asset: str,
        *,
        author: str,
        key: str,
        function: Callable[[pl.DataFrame], pl.DataFrame],
        version: str,
        schema: Mapping[str, pl.DataType],
        row_key: str,
        batch_rows: int = BATCH_ROWS,
        on_batch: Callable[[range, int], object] | None = None,
        rebuild_in_one_commit: bool = False,
        key_prefix: str = "",
    ) -> SyncResult:
        """Compute the inputs whose hash or `version` is new, and delete rows of removed inputs.

        Args:
            upstream: the inputs, with only the columns on which the rows depend; rows that share
                `key` are one input.
            target_asset: the table's asset name.
            key: the input's key column (String).
            function: receives whole upstream rows of changed inputs, at most `batch_rows` at a time
                (an input is never split). It returns `key` and the columns of `schema`, with any
                number of rows per input. Its result must depend only on these rows and `version`.
            version: the function's version; a new one recomputes every input.
            schema: columns of the table, with their types.
            row_key: the column of `schema` (String) that is unique in the table.
            on_batch: called before each batch with the positions of its inputs among the inputs
                to compute, and the total number of inputs to compute.
            rebuild_in_one_commit: if true, a new version replaces all rows in one commit, as a new
                schema does, so that readers never see a mixture of old and new rows.
            key_prefix: the keys of all inputs begin with it; rows of other keys are kept,
                unless the schema changes.

        Raises:
            TwinError: a key is null, or the rows do not fit.
            LeaseBusyError: another process has worked on this table for longer than `lease_wait_s`.
            StorageError: the storage failed. Finished batches are stored completely, and the next
                sync computes the remaining inputs.
        """
        target = self.uri(target_asset, author)
        arrow_schema = store.build_arrow_schema(schema, row_key=row_key)
        keys = upstream[key]
        if keys.dtype != pl.String or keys.null_count():
            raise TwinError(
                f"sync a table by the key {key!r}",
                found=f"{keys.null_count()} nulls in a column of type {keys.dtype}",
                next_step="give every upstream row a String key",
            )
        task = sync.SyncTask(
            f"{target_asset} of {author}",
            key,
            row_key,
            version,
            schema,
            function,
            upstream,
            batch_rows,
            on_batch,
        )
        inputs = hash_inputs(pl.DataFrame({"key": keys, "hash": hash_rows(upstream)}))
        with self.lease(target_asset, author) as lease:
            table = store.open_table(target)
            if table is None:
                table = store.create_table(target, arrow_schema)
            is_owned = pl.col("_input_key").str.starts_with(key_prefix)
            stored_rows = store.read_columns(
                table, ["_input_key", "_input_hash", "_version"]
            ).filter(is_owned)
            empty_inputs = sync.read_empty_inputs(self.state, target).filter(is_owned)
            needs_rebuild = not table.is_compatible_with(arrow_schema) or (
                rebuild_in_one_commit
                and stored_rows.height
                and version not in stored_rows["_version"]
            )
            changes = find_changes(
                inputs,
                stored_rows=stored_rows.clear() if needs_rebuild else stored_rows,
                empty_inputs=empty_inputs.clear() if needs_rebuild else empty_inputs,
                version=version,
            )
            progress = sync.apply_changes(
                task,
                changes,
                table,
                empty_inputs=empty_inputs,
                lease=lease,
                new_schema=arrow_schema if needs_rebuild else None,
            )
            if progress.bytes_written:
                progress.add_commit(maintenance.compact_fragments(progress.table, lease))
        return SyncResult.from_progress(target_asset, author, progress)

    def read(
        self,
        asset: str,
        author: str,
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        version: int | str | None = None,
    ) -> pl.DataFrame:
        """Read rows of a table without its bookkeeping columns, ordered by row key.

        Args:
            columns: the columns to read, or None for all.
            where: an SQL filter (https://lance.org/guide/read_and_write/#filter-push-down).
            version: a Lance version or a tag, or None for the newest version.

        Raises:
            TableNotFoundError: the asset has not been materialized for this author.
            StorageError: the table's files cannot be read.
            TwinError: a column or the version is unknown, or the filter does not parse.
        """
        table = self._open(asset, author, version=version)
        selected_columns = list(table.columns if columns is None else columns)
        unknown_columns = sorted(set(selected_columns) - set(table.columns))
        if unknown_columns:
            raise TwinError(
                f"read {asset} of {author}",
                found=f"no columns {unknown_columns}",
                next_step=f"choose from {table.columns}",
            )
        try:
            return store.read_user_columns(table, selected_columns, where=where)
        except ValueError as error:
            raise TwinError(
                f"read {asset} of {author} where {where}",
                found=str(error).splitlines()[0],
                next_step="correct the SQL filter",
            ) from error

    def read_computed(
        self,
        asset: str,
        author: str,
        upstream: pl.DataFrame,
        *,
        key: str,
        version: str,
        schema: Mapping[str, pl.DataType],
    ) -> pl.DataFrame:
        """Return the rows that a sync of equal inputs has stored here, in any order.

        Args:
            upstream: the inputs, one row each, with the columns that `sync` was given.
            key, version, schema: as in `sync`.

        Returns:
            The columns of `schema`; no rows if the table is missing or was written with another
            version or schema.

        Raises:
            StorageError: the table's files cannot be read.
        """
        table = self._find(asset, author)
        if table is None or table.columns != list(schema):
            return pl.DataFrame(schema=schema)
        inputs = pl.DataFrame({"_input_key": upstream[key], "_input_hash": hash_rows(upstream)})
        rows = store.read_columns(
            table,
            [*schema, "_input_key", "_input_hash"],
            where=f"_version = {store.quote_literal(version)} AND "
            + sql_in_filter("_input_key", inputs["_input_key"]),
        )
        rows = rows.join(inputs, on=["_input_key", "_input_hash"], how="semi")
        return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())

    def read_row_hashes(self, asset: str, author: str) -> pl.DataFrame:
        """Return the row key and the hash of each row (`row_hash`), ordered by row key.

        Raises:
            TableNotFoundError: the asset has not been materialized for this author.
        """
        table = self._open(asset, author)
        hashes = store.read_columns(table, [table.row_key, "_row_hash"]).sort(table.row_key)
        return hashes.rename({"_row_hash": "row_hash"})

    def scan(self, asset: str, author: str) -> pl.LazyFrame:
        """Return a table as a LazyFrame, which reads only the columns that a query needs.

        This call fixes the version, even if the table is written before the query runs.

        Raises:
            TableNotFoundError: the asset has not been materialized for this author.
        """
        from polars.io.plugins import register_io_source

        table = self._open(asset, author)

        def scan_table(
            with_columns: list[str] | None,
            predicate: pl.Expr | None,
            n_rows: int | None,
            _batch_size: int | None,
        ) -> Iterator[pl.DataFrame]:
            frame = store.read_user_columns(table, with_columns, where=None)
            if n_rows is not None:
                frame = frame.head(n_rows)
            yield frame if predicate is None else frame.filter(predicate)

        return register_io_source(scan_table, schema=store.polars_schema(table))

    def exists(self, asset: str, author: str) -> bool:
        """Return whether the table exists (it may have no rows)."""
        return self._find(asset, author) is not None

    def data_version(self, asset: str, author: str) -> str | None:
        """Return the data version, or None if no table exists."""
        table = self._find(asset, author)
        return None if table is None else store.read_data_version(table)

    def lance_version(self, asset: str, author: str) -> int | None:
        """Return the newest Lance version, or None if no table exists."""
        table = self._find(asset, author)
        return None if table is None else table.dataset.version

    def tag(self, asset: str, author: str, tag: str, version: int | None = None) -> int:
        """Tag a version (the newest if None) to protect it from clean-up, and return the version.

        An existing tag moves to this version.
        """
        table = self._open(asset, author)
        tagged_version = table.dataset.version if version is None else version
        tags = table.dataset.tags
        if tag in tags.list():
            tags.update(tag, tagged_version)
        else:
            tags.create(tag, tagged_version)
        return tagged_version

    def ensure_index(self, asset: str, author: str, column: str) -> int:
        """Create a BTREE index on a column, or update the existing one.

        Returns:
            The new Lance version; the data version does not change.
        """
        with self.lease(asset, author) as lease:
            table = maintenance.ensure_index(self._open(asset, author), column, lease)
            return table.dataset.version

    def compact(self, asset: str, author: str) -> CompactionResult:
        """Compact fragments and index segments and remove old versions; rows do not change.

        Raises:
            TableNotFoundError: the asset has not been materialized for this author.
            LeaseBusyError: another process has worked on this table for longer than `lease_wait_s`.
        """
        with self.lease(asset, author) as lease:
            return maintenance.compact(self._open(asset, author), lease)

    def list_assets(self, author: str) -> list[str]:
        """Return the sorted names of an author's tables."""
        return store.list_tables(f"{self.base_uri}/{author}")

    def forget(
        self, asset: str, author: str, keys: Sequence[str], *, updates: pl.DataFrame | None = None
    ) -> DeletedRows:
        """Remove rows by row key from every version, index and file of the table.

        `updates` contains complete rows that stay in the table with new values; their old
        values are removed. The next sync restores rows that upstream still has, so forget them
        there first. A tag is removed if its version contains one of the rows
        (`DeletedRows.removed_tags`).
        """
        with self.lease(asset, author) as lease:
            table = self._open(asset, author)
            deleted_rows = maintenance.forget(table, keys, lease, updates=updates)
            sync.delete_empty_inputs(self.state, self.uri(asset, author), keys)
        return deleted_rows

    @contextmanager
    def lease(self, asset: str, author: str) -> Generator[Lease]:
        """Hold the lease for writing one table; every writer of its rows or indexes needs it.

        Raises:
            LeaseBusyError: another process has worked on this table for longer than `lease_wait_s`.
        """
        uri = self.uri(asset, author)
        with (
            translate_storage_errors(f"write {asset} of {author}", uri),
            self.state.lease(lease_name(uri), wait_s=self.lease_wait_s) as lease,
            record_write(self.state, uri),
        ):
            yield lease

    def _find(self, asset: str, author: str) -> StoredTable | None:
        return store.open_table(self.uri(asset, author))

    def _open(self, asset: str, author: str, *, version: int | str | None = None) -> StoredTable:
        table = self._find(asset, author)
        if table is None:
            raise TableNotFoundError(
                f"read {asset} of {author}",
                found=f"no table at {self.uri(asset, author)}",
                next_step=f"materialize the asset {asset!r} for the partition {author!r}",
            )
        if version is None:
            return table
        return store.checkout_version(table, version)
