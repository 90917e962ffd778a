"""Erase from the store `tables`: all Lance tables of assets and of the stages themselves.

Scope: finding the rows of any table that contain the erased data, erasing them from every version,
tag, index and file, and decoding the remaining files. Out of scope: the physical deletion
(`tables/maintenance.py`), old versions of objects in a bucket (`object_versions.py`).

Tables are found by their folders, not by name. Rows are found by the project's column names
(`DERIVATION_COLUMNS` marks rows derived from the value), by any other identifier, and by the words
of their texts. A row that only refers to the target is deleted and rebuilt from the remaining data,
and references to its key are not erased. A row that only links to erased data (`LINK_COLUMNS`)
stays, without the link. A table derived from all of an author's posts at once has no such column.
`DERIVED_FROM_ALL_ROWS` lists these tables.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import polars as pl

from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import find_in_file
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.object_versions import LocalFolder, VersionedBucket, open_storage
from twin_resources.models.retrieval.index import maintain_vector_index
from twin_resources.models.retrieval.retrieval import EMBEDDINGS_TABLE as PASSAGES
from twin_resources.quality.judges.stored_results import JUDGES_TABLE
from twin_resources.storage.tables import store
from twin_resources.storage.tables.newest_versions import forget_written_tables, lease_name
from twin_resources.storage.tables.store import StoredTable
from twin_resources.wait_limits import MAX_WORKING_S

# A row is derived from the values in these columns, so references to its key are erased too.
DERIVATION_COLUMNS = (
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
# These columns are lists of links to other rows. The entry is removed, and the row stays.
LINK_COLUMNS = ("copies",)
DERIVED_FROM_ALL_ROWS = (JUDGES_TABLE,)
_BATCH_ROWS = 2_000
_KEYS_PER_DELETION = 5_000
# These columns contain the author's own words. Questions are excluded, because they use templates
# that other samples share.
_OWN_TEXT_COLUMNS = ("text", "body", "answer", "title")
_OWN_KEY_COLUMNS = ("source_id", "document_id")


@dataclass
class MatchedRows:
    """Rows of one table that contain the target.

    Attributes:
        keys: row keys of matching rows in the newest or any tagged version.
        linked_keys: keys of rows that only link to the target; disjoint from `keys`.
    """

    keys: set[str] = field(default_factory=set[str])
    linked_keys: set[str] = field(default_factory=set[str])


@dataclass(frozen=True)
class LanceTables:
    """Every table of every author under the base URI."""

    installation: Installation
    name: str = "tables"

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        erased_count = 0
        for author in self.list_author_folders(target):
            if target.is_whole_author and author == target.author:
                erased_count += self._remove_author(author)
                continue
            for asset in self.list_assets(author):
                erased_count += self._erase_rows(asset, author, target)
        for author in self.list_author_folders(target):
            self._storage.remove_old_versions(f"{author}/")
        return erased_count

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`."""
        locations: list[str] = []
        for author in self.list_author_folders(target):
            with tempfile.TemporaryDirectory(prefix="twin-proof-") as scratch:
                for shown_path, path in self._storage.download(f"{author}/", Path(scratch)):
                    file_locations = find_in_file(path, target)
                    locations += [f"{shown_path}: {location}" for location in file_locations]
            locations += self._find_stale_indexes(author)
        return locations

    def list_author_folders(self, target: ErasureTarget) -> list[str]:
        """Return the folders under the base URI that may contain the target.

        These are the author's folder and the shared folders. For a reader, they are all folders,
        because a reader may have asked any author.
        """
        names = self._storage.list_folders()
        if target.subject.kind == "reader":
            return sorted(names)
        # The names of shared folders begin with "_", which slugs never do.
        return sorted(name for name in names if name == target.author or name.startswith("_"))

    def list_assets(self, author: str) -> list[str]:
        """Return the names of an author's tables."""
        names = self._storage.list_folders(f"{author}/")
        return sorted(name.removesuffix(".lance") for name in names if name.endswith(".lance"))

    def find_derived_keys(self, asset: str, author: str, target: ErasureTarget) -> set[str]:
        """Return the keys of rows derived from the target in the newest or any tagged version."""
        derived_keys: set[str] = set()
        for table in self._iter_versions(asset, author):
            columns = [name for name in DERIVATION_COLUMNS if name in table.columns]
            for row in _read_rows(table, columns):
                if any(_references_target(row[name], target) for name in columns):
                    derived_keys.add(str(row[table.row_key]))
        return derived_keys

    def find_rows(self, asset: str, author: str, target: ErasureTarget) -> MatchedRows:
        """Return the rows that contain the target in the newest or any tagged version."""
        matched_rows = MatchedRows()
        for table in self._iter_versions(asset, author):
            _scan_version(table, target, matched_rows)
            if asset in DERIVED_FROM_ALL_ROWS and target.subject.kind == "post":
                rows = store.read_columns(table, [table.row_key])
                matched_rows.keys |= set(rows[table.row_key].to_list())
        matched_rows.linked_keys -= matched_rows.keys
        return matched_rows

    def iter_own_texts(self, asset: str, author: str, target: ErasureTarget) -> Iterator[str]:
        """Yield the texts of rows that are a post or part of one, for fingerprinting."""
        for table in self._iter_versions(asset, author):
            key_columns = [name for name in _OWN_KEY_COLUMNS if name in table.columns]
            text_columns = [name for name in _OWN_TEXT_COLUMNS if name in table.columns]
            if not key_columns or not text_columns:
                continue
            rows = store.read_columns(table, [*key_columns, *text_columns])
            for row in rows.iter_rows(named=True):
                if any(_references_target(row[name], target) for name in key_columns):
                    yield from (str(row[name]) for name in text_columns if row[name])

    def _iter_versions(self, asset: str, author: str) -> Iterator[StoredTable]:
        """Yield a table at every tagged version, ending with the newest one."""
        tables = self.installation.tables
        newest_table = store.open_table(tables.uri(asset, author))
        if newest_table is None:
            return
        tags: Mapping[str, Any] = newest_table.dataset.tags.list()
        tagged_versions = {int(tag["version"]) for tag in tags.values()} - {
            newest_table.dataset.version
        }
        for version in sorted(tagged_versions):
            yield store.checkout_version(newest_table, version)
        yield newest_table

    def _erase_rows(self, asset: str, author: str, target: ErasureTarget) -> int:
        """Erase rows by key from every version; move affected tags to the remaining rows."""
        matched_rows = self.find_rows(asset, author, target)
        # Old versions contain rows that were edited or deleted since. They are always deleted,
        # unless the target is a reader and this table contains no data about readers.
        if (
            not matched_rows.keys
            and not matched_rows.linked_keys
            and target.subject.kind == "reader"
            and not self._has_reader_columns(asset, author)
        ):
            return 0
        tables = self.installation.tables
        unlinked_rows = self._read_rows_without_links(
            asset, author, matched_rows.linked_keys, target
        )
        old_version_keys = matched_rows.linked_keys - set(
            unlinked_rows[:, 0].to_list() if unlinked_rows.width else ()
        )
        # The state store records inputs without output rows by their key.
        ids = target.ids if target.subject.kind == "post" else frozenset[str]()
        keys = sorted(matched_rows.keys | old_version_keys | ids)
        for start in range(0, max(len(keys), 1), _KEYS_PER_DELETION):
            batch = keys[start : start + _KEYS_PER_DELETION] or [""]
            result = tables.forget(asset, author, batch, updates=None if start else unlinked_rows)
            for tag in result.removed_tags:
                tables.tag(asset, author, tag)
        if asset == PASSAGES:
            # `forget` dropped the index, because an index retrained by Lance finds a third fewer
            # passages. Until it is rebuilt, a search scans all vectors.
            maintain_vector_index(tables, author)
        return len(matched_rows.keys) + unlinked_rows.height

    def _read_rows_without_links(
        self, asset: str, author: str, keys: set[str], target: ErasureTarget
    ) -> pl.DataFrame:
        """Return the rows with these keys without links, key column first; empty without keys."""
        tables = self.installation.tables
        table = store.open_table(tables.uri(asset, author))
        if not keys or table is None:
            return pl.DataFrame()
        columns = [table.row_key, *(name for name in table.columns if name != table.row_key)]
        rows = store.read_columns(table, columns)
        rows = rows.filter(pl.col(table.row_key).is_in(sorted(keys)))
        link_columns = {
            name: pl.Series(
                name,
                [
                    [link for link in links if not target.matches_value(link)]
                    for links in rows[name].to_list()
                ],
                dtype=rows.schema[name],
            )
            for name in LINK_COLUMNS
            if name in columns
        }
        return rows.with_columns(**link_columns)

    def _has_reader_columns(self, asset: str, author: str) -> bool:
        tables = self.installation.tables
        table = store.open_table(tables.uri(asset, author))
        columns = set(table.columns) if table else set[str]()
        return bool(columns & {"reader", "voters", "trace_id", "prompt_id"})

    def _remove_author(self, author: str) -> int:
        tables = self.installation.tables
        assets = self.list_assets(author)
        for asset in assets:
            # The lease blocks writers while the folder is deleted.
            with tables.state.lease(lease_name(tables.uri(asset, author)), wait_s=MAX_WORKING_S):
                self._storage.remove(f"{author}/{asset}.lance/")
        self._storage.remove(f"{author}/")
        forget_written_tables(tables.state, [tables.uri(asset, author) for asset in assets])
        return len(assets)

    def _find_stale_indexes(self, author: str) -> list[str]:
        """Return unused index folders, which still contain words of erased rows in encoded form."""
        stale_indexes: list[str] = []
        tables = self.installation.tables
        for asset in self.list_assets(author):
            table = store.open_table(tables.uri(asset, author))
            if table is None:
                continue
            current_ids = {
                str(segment.uuid)
                for index in cast("Sequence[Any]", table.dataset.describe_indices())
                for segment in index.segments
            }
            existing_ids = self._storage.list_folders(f"{author}/{asset}.lance/_indices/")
            stale_indexes += [
                f"{author}/{asset}: an old index"
                for name in existing_ids
                if name not in current_ids
            ]
        return stale_indexes

    @property
    def _storage(self) -> VersionedBucket | LocalFolder:
        return open_storage(self.installation.tables.base_uri)


def _read_rows(table: StoredTable, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of one version with their key and these columns."""
    names = list(dict.fromkeys([table.row_key, *columns]))
    batches = cast("Iterator[Any]", table.dataset.to_batches(columns=names, batch_size=_BATCH_ROWS))
    for batch in batches:
        yield from cast("pl.DataFrame", pl.from_arrow(batch)).iter_rows(named=True)


def _scan_version(table: StoredTable, target: ErasureTarget, matched_rows: MatchedRows) -> None:
    """Add one version's rows that contain the target to `matched_rows`."""
    columns = _list_text_columns(table)
    derivation_columns = [name for name in columns if name in DERIVATION_COLUMNS]
    link_columns = [name for name in columns if name in LINK_COLUMNS]
    text_columns = [name for name in columns if name[0] != "_" and name not in LINK_COLUMNS]
    for row in _read_rows(table, columns):
        key = str(row[table.row_key])
        if (
            key in target.ids
            or any(_references_target(row[name], target) for name in derivation_columns)
            or any(target.matches_value(row[name]) for name in text_columns)
        ):
            matched_rows.keys.add(key)
        elif any(target.matches_value(row[name]) for name in link_columns):
            matched_rows.linked_keys.add(key)


def _list_text_columns(table: StoredTable) -> list[str]:
    """Return the columns that may contain texts, which excludes vectors and numbers."""
    import pyarrow.types as arrow_types

    columns: list[str] = []
    for column in cast("Sequence[Any]", table.dataset.schema):
        data_type = column.type
        while arrow_types.is_list(data_type) or arrow_types.is_large_list(data_type):
            data_type = data_type.value_type
        if (
            arrow_types.is_string(data_type)
            or arrow_types.is_large_string(data_type)
            or arrow_types.is_struct(data_type)
        ):
            columns.append(column.name)
    return columns


def _references_target(value: object, target: ErasureTarget) -> bool:
    if isinstance(value, str):
        return target.matches_identifier(value)
    if isinstance(value, list):
        return any(
            isinstance(item, str) and target.matches_identifier(item)
            for item in cast("list[object]", value)
        )
    return False
