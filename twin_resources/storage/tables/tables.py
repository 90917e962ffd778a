"""Versioned Lance tables, one an asset and author: what every stage writes through.

Scope: the words that assets use: sync, read, data_version, tag, forget.
Out of scope: what the rows mean; how Lance stores them (`store.py`).
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
from twin_resources.longest_waits import MAX_WORKING_S
from twin_resources.storage.storage_faults import faults_told
from twin_resources.storage.tables import store, sync, upkeep, verified
from twin_resources.storage.tables.changes import compare, input_hashes
from twin_resources.storage.tables.hashing import row_hashes
from twin_resources.storage.tables.store import StoredTable, TableMissing
from twin_resources.storage.tables.upkeep import CompactionResult, DeletedRows
from twin_resources.storage.tables.verified import Unverified

if TYPE_CHECKING:
    from twin_resources.storage.state.lease import Lease
    from twin_resources.storage.state.state import State

__all__ = [
    "CompactionResult",
    "DeletedRows",
    "SyncResult",
    "TableMissing",
    "Tables",
    "Unverified",
    "Upstream",
]

BATCH_ROWS = 1000

Group = Callable[[pl.DataFrame], pl.Series] | str


@dataclass(frozen=True)
class Upstream:
    """A stored table as the upstream of a sync: unchanged rows cost their key and hash only.

    Attributes:
        asset, author: which table.
        columns: what the function gets; None: all. The input hash is always that of the whole row.
    """

    asset: str
    author: str
    columns: Sequence[str] | None = None


@dataclass(frozen=True)
class SyncResult:
    """What one sync did.

    Attributes:
        data_version: 64 hex digits; equal for equal rows, schema and function version.
        rows: rows in the table now.
        computed: inputs given to the function.
        written, deleted: rows.
        lance_version: the table's version now.
        bytes_written: to the table's storage, manifests included.
    """

    asset: str
    author: str
    data_version: str
    rows: int
    computed: int
    written: int
    deleted: int
    lance_version: int
    bytes_written: int

    @classmethod
    def of(cls, asset: str, author: str, done: sync.SyncProgress) -> SyncResult:
        return cls(
            asset,
            author,
            data_version=store.version_of(done.record, done.table.types),
            rows=done.record.rows,
            computed=done.computed,
            written=done.written,
            deleted=done.deleted,
            lance_version=done.table.dataset.version,
            bytes_written=done.bytes_written,
        )

    def metadata(self) -> dict[str, Any]:
        """Numbers for Dagster's materialization; never text of a row."""
        return {
            "dagster/row_count": self.rows,
            "computed": self.computed,
            "written": self.written,
            "deleted": self.deleted,
            "bytes_written": self.bytes_written,
            "lance_version": self.lance_version,
        }


class Tables:
    """All tables under one base URI (a folder, or `s3://bucket/prefix`)."""

    def __init__(
        self,
        base_uri: str,
        *,
        state: State,
        storage_options: Mapping[str, str] | None = None,
        lease_wait_s: float = MAX_WORKING_S,
    ) -> None:
        self.base_uri = str(base_uri).rstrip("/")
        self.state = state
        self.storage_options = storage_options
        self.lease_wait_s = lease_wait_s

    def uri(self, asset: str, author: str) -> str:
        """Where the table lies, whether or not it exists."""
        return f"{self.base_uri}/{author}/{asset}.lance"

    def sync(
        self,
        upstream: pl.DataFrame | Upstream,
        into: str,
        *,
        author: str,
        key: str,
        function: Callable[[pl.DataFrame], pl.DataFrame],
        version: str,
        schema: Mapping[str, pl.DataType],
        row_key: str,
        group: Group | None = None,
        batch_rows: int = BATCH_ROWS,
        announce: Callable[[range, int], object] | None = None,
        at_once: bool = False,
    ) -> SyncResult:
        """Compute the rows whose (input hash, version) is new, delete those of vanished inputs.

        Args:
            upstream: the inputs, or a stored table of them; rows that share `key` are one input.
            into: the table's asset name.
            key: the input's key column (String).
            function: gets whole upstream rows of changed inputs, at most `batch_rows` at a time
                (a group is never cut); returns `key` and the columns of `schema`, none to many rows
                an input. It must depend on nothing but these rows and what `version` names.
            version: of the function; a new one computes everything again.
            schema: columns of the table, with their types.
            row_key: the column of `schema` (String) that is unique in the table.
            group: an upstream column, or a function of the upstream frame that gives a value a row:
                every input of a group that gained, lost or changed a member is computed again.
            announce: called before each batch with the places of its inputs among those that are
                computed, and how many these are.
            at_once: rows of a new version replace all rows of the old one in one commit, as those
                of a new schema do: a reader never finds some of both.

        Raises:
            TwinError: the upstream table is missing, a key is null, or the rows do not fit.
            LeaseBusy: another process has worked on this table for longer than `lease_wait_s`.
            StorageFault: whole batches are stored, or none; the next sync does the others.
        """
        target = self.uri(into, author)
        arrow = store.arrow_schema(schema, row_key=row_key)
        rows, fetch = self._upstream(upstream, key=key, group=group)
        task = sync.SyncTask(
            f"{into} of {author}",
            key,
            row_key,
            version,
            schema,
            function,
            fetch,
            batch_rows,
            announce,
        )
        inputs = input_hashes(rows)
        with self.lease(into, author) as lease:
            table = store.open_table(target, storage_options=self.storage_options)
            if table is None:
                table = store.create(target, arrow, storage_options=self.storage_options)
            stored = store.read_columns(table, ["_input_key", "_input_hash", "_version"])
            empty = sync.read_empty(self.state, target)
            superseded = at_once and stored.height and version not in stored["_version"]
            if table.fits(arrow) and not superseded:
                changes = compare(inputs, stored=stored, empty=empty, version=version)
                done = sync.run(task, changes, table, empty=empty, lease=lease)
            else:
                changes = compare(
                    inputs, stored=stored.clear(), empty=empty.clear(), version=version
                )
                done = sync.rebuild(task, changes, table, schema=arrow, empty=empty, lease=lease)
            if done.bytes_written:
                done.table, tidied = upkeep.compact_fragments(done.table, lease)
                done.bytes_written += tidied
                # Somebody without the lease may have written in between: then ask the rows.
                done.record = store.read_record(done.table)
        return SyncResult.of(into, author, done)

    def read(
        self,
        asset: str,
        author: str,
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        version: int | str | None = None,
    ) -> pl.DataFrame:
        """Rows of a table without its bookkeeping, ordered by row key.

        Args:
            columns: which; None: all.
            where: a filter in SQL (https://lance.org/guide/read_and_write/#filter-push-down).
            version: a Lance version or a tag; None: the newest.

        Raises:
            TableMissing: nobody has materialized the asset for this author.
            StorageFault: its files cannot be read.
            TwinError: an unknown column, a filter that does not parse, an unknown version.
        """
        table = self._open(asset, author, version=version)
        wanted = list(table.columns if columns is None else columns)
        unknown = sorted(set(wanted) - set(table.columns))
        if unknown:
            raise TwinError(
                f"read {asset} of {author}",
                found=f"no columns {unknown}",
                next_step=f"choose from {table.columns}",
            )
        try:
            return store.without_bookkeeping(table, wanted, where=where)
        except ValueError as error:
            raise TwinError(
                f"read {asset} of {author} where {where}",
                found=str(error).splitlines()[0],
                next_step="mend the SQL filter",
            ) from error

    def unverified(self, asset: str, author: str, *, claim: str, version: str) -> Unverified:
        """The rows for which a claim about single rows is not known to hold.

        Args:
            claim: its name, as `Unverified.hold` remembers it.
            version: of the claim; under another one nothing is known.

        Raises:
            TableMissing: nobody has materialized the asset for this author.
        """
        return verified.unverified(
            self._open(asset, author), self.state, claim=claim, version=version
        )

    def scan(self, asset: str, author: str, *, version: int | str | None = None) -> pl.LazyFrame:
        """A table as a LazyFrame: only the columns that the query uses are read, and when it runs.

        The version is the one of this call, whatever is written before the query runs.

        Raises:
            TableMissing: nobody has materialized the asset for this author.
        """
        from polars.io.plugins import register_io_source

        table = self._open(asset, author, version=version)

        def source(
            with_columns: list[str] | None,
            predicate: pl.Expr | None,
            n_rows: int | None,
            _batch_size: int | None,
        ) -> Iterator[pl.DataFrame]:
            frame = store.without_bookkeeping(table, with_columns, where=None)
            if n_rows is not None:
                frame = frame.head(n_rows)
            yield frame if predicate is None else frame.filter(predicate)

        return register_io_source(source, schema=store.polars_schema(table))

    def exists(self, asset: str, author: str) -> bool:
        """Whether the table is there (it may have no rows)."""
        return self._find(asset, author) is not None

    def data_version(self, asset: str, author: str) -> str | None:
        """The data version, or None when there is no table. Reads no row in the usual case."""
        table = self._find(asset, author)
        return None if table is None else store.version_of(store.read_record(table), table.types)

    def lance_version(self, asset: str, author: str) -> int | None:
        """The newest Lance version, or None when there is no table."""
        table = self._find(asset, author)
        return None if table is None else table.dataset.version

    def tag(self, asset: str, author: str, tag: str, version: int | None = None) -> int:
        """Pin a version (None: the newest) under a name, safe from clean-ups; returns the version.

        A tag that stands is moved.
        """
        table = self._open(asset, author)
        pinned = table.dataset.version if version is None else version
        tags = table.dataset.tags
        if tag in tags.list():
            tags.update(tag, pinned)
        else:
            tags.create(tag, pinned)
        return pinned

    def ensure_index(
        self, asset: str, author: str, column: str, *, kind: str = "BTREE", **options: Any
    ) -> int:
        """Make an index (`BTREE`, `FTS`, …), or bring the one that is there up to date.

        Returns the Lance version; the data version stays as it is.
        """
        with self.lease(asset, author) as lease:
            table = upkeep.ensure_index(self._open(asset, author), column, kind, options, lease)
        return table.dataset.version

    def optimize_indices(self, asset: str, author: str) -> int:
        """Bring all indexes up to date with the rows; returns the Lance version."""
        with self.lease(asset, author) as lease:
            return upkeep.optimize_indices(self._open(asset, author), lease).dataset.version

    def compact(self, asset: str, author: str) -> CompactionResult:
        """Upkeep of one table: fragments, index segments, old versions; its rows stay as they are.

        Raises:
            TableMissing: nobody has materialized the asset for this author.
            LeaseBusy: another process has worked on this table for longer than `lease_wait_s`.
        """
        with self.lease(asset, author) as lease:
            return upkeep.compact(self._open(asset, author), lease)

    def assets(self, author: str) -> list[str]:
        """Names of the tables that an author has, sorted."""
        return store.tables_in(f"{self.base_uri}/{author}", storage_options=self.storage_options)

    def forget(
        self, asset: str, author: str, keys: Sequence[str], *, replaced: pl.DataFrame | None = None
    ) -> DeletedRows:
        """Remove rows by row key from every version, index and file of the table.

        `replaced`: rows with all columns that stay with these values; the former values go.
        What upstream still has comes back at the next sync: forget there first. A tag on a
        version that holds one of the rows is taken off (`DeletedRows.untagged`).
        """
        with self.lease(asset, author) as lease:
            forgotten = upkeep.forget(self._open(asset, author), keys, lease, replaced=replaced)
            sync.forget_empty(self.state, self.uri(asset, author), keys)
        return forgotten

    @contextmanager
    def lease(self, asset: str, author: str) -> Generator[Lease]:
        """Hold the right to write one table; every writer of it, of rows or indexes, holds it.

        Raises:
            LeaseBusy: another process has worked on this table for longer than `lease_wait_s`.
        """
        uri = self.uri(asset, author)
        with (
            faults_told(f"write {asset} of {author}", uri),
            self.state.lease(f"table {uri}", wait_s=self.lease_wait_s) as lease,
        ):
            yield lease

    def _find(self, asset: str, author: str) -> StoredTable | None:
        uri = self.uri(asset, author)
        return store.open_table(uri, storage_options=self.storage_options)

    def _open(self, asset: str, author: str, *, version: int | str | None = None) -> StoredTable:
        table = self._find(asset, author)
        if table is None:
            raise TableMissing(
                f"read {asset} of {author}",
                found=f"no table at {self.uri(asset, author)}",
                next_step=f"materialize the asset {asset!r} for the partition {author!r}",
            )
        if version is None:
            return table
        return store.at_version(table, version)

    def _upstream(
        self, upstream: pl.DataFrame | Upstream, *, key: str, group: Group | None
    ) -> tuple[pl.DataFrame, Callable[[Sequence[int]], pl.DataFrame]]:
        """The narrow frame of an upstream (`key`, `hash`, `group`), and how to get whole rows."""
        if isinstance(upstream, pl.DataFrame):
            frame, hashes = upstream, row_hashes(upstream)
            fetch: Callable[[Sequence[int]], pl.DataFrame] = lambda at: frame[list(at)]  # noqa: E731
            grouped = frame
        else:
            table = self._open(upstream.asset, upstream.author)
            columns = list(upstream.columns or table.columns)
            narrow = [key, "_row_hash"]
            if isinstance(group, str):
                narrow.append(group)
            elif group is not None:
                narrow += [name for name in columns if name != key]
            grouped = store.read_columns(table, list(dict.fromkeys(narrow)))
            hashes = grouped["_row_hash"]
            frame = grouped
            fetch = lambda at: store.take(table, at, columns)  # noqa: E731
        keys = frame[key]
        if keys.dtype != pl.String or keys.null_count():
            raise TwinError(
                f"sync a table by the key {key!r}",
                found=f"{keys.null_count()} nulls in a column of type {keys.dtype}",
                next_step="give every upstream row a String key",
            )
        rows = pl.DataFrame({"key": keys, "hash": hashes})
        if group is None:
            return rows, fetch
        values = grouped[group] if isinstance(group, str) else group(grouped)
        return rows.with_columns(values.alias("group")), fetch
