"""The store of all Lance tables: erase from assets and from the tables that stages keep.

Scope: finding the rows of any table that hold the erased data, erasing them from every version,
tag, index and file, and decoding the remaining files. Out of scope: the physical deletion
(`tables/upkeep.py`), old versions of objects in a bucket (`object_versions.py`).

No table is named here. A table is found by its folder; its rows are found by the project's column
names (`DESCENDS` marks rows derived from the value), by any other identifier column, and by the
words of their texts. A row that only links to erased data (`LINKS`) stays, without the link. A
table derived from all of an author's posts at once has no such column and is listed in
`MADE_OF_EVERYTHING`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import polars as pl

from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import held_in
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.object_versions import VersionedBucket, bucket_of
from twin_resources.longest_waits import MAX_WORKING_S
from twin_resources.models.retrieval.index import keep_vector_index
from twin_resources.models.retrieval.retrieval import TABLE as PASSAGES
from twin_resources.quality.judges.panel import STORED_TABLES
from twin_resources.storage.tables import store
from twin_resources.storage.tables.store import StoredTable

# A row is derived from the values in these columns, so its key is erased too.
DESCENDS = (
    "source_id",
    "document_id",
    "chunk_id",
    "chunk_ids",
    "context_chunk_ids",
    "sample_id",
    "trace_id",
    "prompt_id",
    "reader",
    "_input_key",
)
# These columns only refer to the target: the row is deleted and rebuilt from what is left, and
# its key is not followed.
_NAMES = ("_id", "_ids", "_of", "_key", "_reader", "voters", "author", "path", "url")
# Lists of links to other rows: the entry is removed, and the rest of the row stays.
LINKS = ("copies",)
MADE_OF_EVERYTHING = STORED_TABLES
_AT_ONCE = 2_000
_KEYS_AT_ONCE = 5_000
# The author's own words. Questions are excluded: they use templates that other samples share.
_OWN_TEXT = ("text", "answer", "title")
_OWN_KEYS = ("source_id", "document_id")


@dataclass
class MatchedRows:
    """Rows of one table that hold the target.

    Attributes:
        keys: row keys of matching rows in the newest or any tagged version.
        made: the subset of `keys` whose rows were derived from the target.
        linking: keys of rows that only link to the target; disjoint from `keys`.
    """

    keys: set[str] = field(default_factory=set[str])
    linking: set[str] = field(default_factory=set[str])
    made: set[str] = field(default_factory=set[str])


@dataclass(frozen=True)
class LanceTables:
    """Every table of every author under the base URI."""

    instance: Installation
    name: str = "tables"

    def erase(self, gone: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        erased = 0
        for author in self.authors(gone):
            if gone.whole_author and author == gone.author:
                erased += self._remove_author(author)
                continue
            for asset in self.assets(author):
                erased += self._erase_rows(asset, author, gone)
        bucket = self._bucket()
        if bucket is not None:
            for author in self.authors(gone):
                bucket.remove_old_versions(f"{author}/")
        return erased

    def holds(self, gone: ErasureTarget) -> list[str]:
        """See `DataStore.holds`."""
        places: list[str] = []
        bucket = self._bucket()
        for author in self.authors(gone):
            if bucket is None:
                folder = Path(self.instance.tables.base_uri) / author
                files = sorted(path for path in folder.rglob("*") if path.is_file())
                places += _held(
                    ((f"{author}/{path.relative_to(folder)}", path) for path in files), gone
                )
            else:
                with tempfile.TemporaryDirectory(prefix="twin-proof-") as scratch:
                    places += _held(bucket.download(f"{author}/", Path(scratch)), gone)
            places += self._stale_indexes(author)
        return places

    def authors(self, gone: ErasureTarget) -> list[str]:
        """Return folders under the base URI that may hold the target: the author's and shared ones.

        For a reader, return all folders, because a reader may have asked any author.
        """
        bucket = self._bucket()
        if bucket is not None:
            names = bucket.folders()
        else:
            base = Path(self.instance.tables.base_uri)
            names = [path.name for path in base.iterdir() if path.is_dir()] if base.is_dir() else []
        if gone.subject.kind == "reader":
            return sorted(names)
        # "_" begins the name of a shared folder and never begins a slug
        return sorted(name for name in names if name == gone.author or name.startswith("_"))

    def assets(self, author: str) -> list[str]:
        """Return the names of an author's tables."""
        bucket = self._bucket()
        if bucket is not None:
            names = bucket.folders(f"{author}/")
        else:
            folder = Path(self.instance.tables.base_uri) / author
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(name.removesuffix(".lance") for name in names if name.endswith(".lance"))

    def hits(
        self, asset: str, author: str, gone: ErasureTarget, *, by_text: bool = True
    ) -> MatchedRows:
        """Return the rows that hold the target in the newest version or any tagged one.

        Args:
            by_text: read every text if True, only the identifier columns if False.
        """
        matched = MatchedRows()
        for table in self._versions(asset, author):
            _scan(table, gone, matched, by_text=by_text)
            if asset in MADE_OF_EVERYTHING and gone.subject.kind == "post":
                rows = store.read_columns(table, [table.row_key])
                matched.keys |= set(rows[table.row_key].to_list())
        matched.linking -= matched.keys
        return matched

    def own_texts(self, asset: str, author: str, gone: ErasureTarget) -> Iterator[str]:
        """Yield texts of rows that are a post or part of one, for fingerprinting."""
        for table in self._versions(asset, author):
            keys = [name for name in _OWN_KEYS if name in table.columns]
            texts = [name for name in _OWN_TEXT if name in table.columns]
            if not keys or not texts:
                continue
            for row in store.read_columns(table, [*keys, *texts]).iter_rows(named=True):
                if any(_names_it(row[name], gone) for name in keys):
                    yield from (str(row[name]) for name in texts if row[name])

    def _versions(self, asset: str, author: str) -> Iterator[StoredTable]:
        """Yield a table at every tagged version, ending with the newest one."""
        tables = self.instance.tables
        newest = store.open_table(tables.uri(asset, author), storage_options=tables.storage_options)
        if newest is None:
            return
        tags: Mapping[str, Any] = newest.dataset.tags.list()
        tagged = {int(tag["version"]) for tag in tags.values()} - {newest.dataset.version}
        for version in sorted(tagged):
            yield store.at_version(newest, version)
        yield newest

    def _erase_rows(self, asset: str, author: str, gone: ErasureTarget) -> int:
        """Erase rows by key from every version; move an affected tag to what is left."""
        hits = self.hits(asset, author, gone)
        # Old versions hold what an edit or a deletion removed from the newest one. They are always
        # deleted, unless the target is a reader and this table holds nothing about readers.
        if (
            not hits.keys
            and not hits.linking
            and gone.subject.kind == "reader"
            and not self._about_readers(asset, author)
        ):
            return 0
        tables = self.instance.tables
        unlinked = self._without_links(asset, author, hits.linking, gone)
        only_before = hits.linking - set(unlinked[:, 0].to_list() if unlinked.width else ())
        # Inputs that produced no row are remembered by their key.
        ids = gone.ids if gone.subject.kind == "post" else frozenset[str]()
        keys = sorted(hits.keys | only_before | ids)
        for start in range(0, max(len(keys), 1), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE] or [""]
            done = tables.forget(asset, author, some, replaced=None if start else unlinked)
            for tag in done.untagged:
                tables.tag(asset, author, tag)
        if asset == PASSAGES:
            # `forget` dropped the index, because an index retrained by Lance finds a third less.
            # Until it is rebuilt, a search scans all vectors.
            keep_vector_index(tables, author)
        return len(hits.keys) + unlinked.height

    def _without_links(
        self, asset: str, author: str, keys: set[str], gone: ErasureTarget
    ) -> pl.DataFrame:
        """Return newest-version rows without the links, key column first; empty without keys."""
        tables = self.instance.tables
        table = store.open_table(tables.uri(asset, author), storage_options=tables.storage_options)
        if not keys or table is None:
            return pl.DataFrame()
        columns = [table.row_key, *(name for name in table.columns if name != table.row_key)]
        rows = store.read_columns(table, columns)
        rows = rows.filter(pl.col(table.row_key).is_in(sorted(keys)))
        left = {
            name: pl.Series(
                name,
                [
                    [link for link in links if not gone.is_among(link)]
                    for links in rows[name].to_list()
                ],
                dtype=rows.schema[name],
            )
            for name in LINKS
            if name in columns
        }
        return rows.with_columns(**left)

    def _about_readers(self, asset: str, author: str) -> bool:
        tables = self.instance.tables
        table = store.open_table(tables.uri(asset, author), storage_options=tables.storage_options)
        columns = set(table.columns) if table else set[str]()
        return bool(columns & {"reader", "voters", "trace_id", "prompt_id"})

    def _remove_author(self, author: str) -> int:
        tables = self.instance.tables
        assets = self.assets(author)
        for asset in assets:
            # the lease blocks writers while the folder is deleted
            with tables.state.lease(f"table {tables.uri(asset, author)}", wait_s=MAX_WORKING_S):
                bucket = self._bucket()
                if bucket is not None:
                    bucket.remove(f"{author}/{asset}.lance/")
                else:
                    shutil.rmtree(Path(tables.base_uri) / author / f"{asset}.lance")
        if self._bucket() is None:
            shutil.rmtree(Path(tables.base_uri) / author, ignore_errors=False)
        return len(assets)

    def _stale_indexes(self, author: str) -> list[str]:
        """Return unused index folders, which must be deleted: packed words are unsearchable."""
        if self._bucket() is not None:
            return []  # Lance lists a bucket like a folder; old versions are deleted
        stale: list[str] = []
        tables = self.instance.tables
        for asset in self.assets(author):
            table = store.open_table(tables.uri(asset, author), storage_options=None)
            if table is None:
                continue
            standing = {
                str(segment.uuid)
                for index in cast("Sequence[Any]", table.dataset.describe_indices())
                for segment in index.segments
            }
            folder = Path(tables.uri(asset, author)) / "_indices"
            there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
            stale += [f"{author}/{asset}: an old index" for name in there if name not in standing]
        return stale

    def _bucket(self) -> VersionedBucket | None:
        return bucket_of(self.instance.tables)


def _held(files: Iterator[tuple[str, Path]], gone: ErasureTarget) -> list[str]:
    places: list[str] = []
    for shown, path in files:
        where = held_in(path, gone)
        if where is not None:
            places.append(f"{shown}: {where}")
    return places


def _scan(table: StoredTable, gone: ErasureTarget, hits: MatchedRows, *, by_text: bool) -> None:
    """Add the rows of one version that hold the target."""
    columns = [name for name in table.dataset.schema.names if name in _read_columns(table)]
    descends = [name for name in columns if name in DESCENDS]
    names = [name for name in columns if name.endswith(_NAMES) and name not in descends]
    links = [name for name in columns if name in LINKS] if by_text else []
    texts = [name for name in columns if not name.startswith("_")] if by_text else []
    texts = [name for name in texts if name not in links]
    wanted = list(dict.fromkeys([table.row_key, *descends, *names, *texts, *links]))
    batches = cast("Iterator[Any]", table.dataset.to_batches(columns=wanted, batch_size=_AT_ONCE))
    for batch in batches:
        for row in cast("pl.DataFrame", pl.from_arrow(batch)).iter_rows(named=True):
            key = str(row[table.row_key])
            made = any(_names_it(row[name], gone) for name in descends)
            if made:
                hits.made.add(key)
            if (
                made
                or key in gone.ids
                or any(_names_it(row[name], gone) for name in names)
                or any(gone.is_among(row[name]) for name in texts)
            ):
                hits.keys.add(key)
            elif any(gone.is_among(row[name]) for name in links):
                hits.linking.add(key)


def _read_columns(table: StoredTable) -> set[str]:
    """Return the columns that may hold texts, which excludes vectors and numbers."""
    import pyarrow.types as of

    columns: set[str] = set()
    for column in cast("Sequence[Any]", table.dataset.schema):
        kind = column.type
        while of.is_list(kind) or of.is_large_list(kind):
            kind = kind.value_type
        if of.is_string(kind) or of.is_large_string(kind) or of.is_struct(kind):
            columns.add(column.name)
    return columns


def _names_it(value: object, gone: ErasureTarget) -> bool:
    if isinstance(value, str):
        return gone.is_value(value)
    if isinstance(value, list):
        return any(
            isinstance(one, str) and gone.is_value(one) for one in cast("list[object]", value)
        )
    return False
