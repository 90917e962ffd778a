"""Open, create and commit one Lance dataset as a keyed table, and compute its data version.

A commit is one manifest (https://lance.org/format/table/transaction/).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_resources.errors import TwinError, check_schema
from twin_resources.storage.object_store import is_object_address, list_folders
from twin_resources.storage.storage_faults import (
    DamagedError,
    UnreachableError,
    summarize_error,
    translate_storage_errors,
)
from twin_resources.storage.tables.hashing import (
    HASH_BYTES,
    data_version,
    hash_rows,
    sum_hashes,
    type_name,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from lance import LanceDataset

SCHEMA_VERSION = 1  # increase it when bookkeeping columns or properties change meaning
BOOKKEEPING_COLUMNS = ("_input_key", "_input_hash", "_version", "_row_hash")

_SESSION_BYTES = 64 << 20  # limit for manifests, and for indexes


class TableNotFoundError(TwinError):
    """The table does not exist. The message names the asset to materialize."""


@dataclass(frozen=True)
class StoredTable:
    """An open version of a table, with the row key and column types from its metadata."""

    dataset: LanceDataset
    uri: str
    row_key: str
    types: Mapping[str, str]

    @property
    def row_count(self) -> int:
        """Return the number of rows."""
        return self.dataset.count_rows()

    @property
    def columns(self) -> list[str]:
        """The names of the user columns, which exclude the bookkeeping columns."""
        return [name for name in self.dataset.schema.names if name not in BOOKKEEPING_COLUMNS]

    def is_compatible_with(self, schema: pa.Schema) -> bool:
        """Return whether rows of this schema can be written without rebuilding the table."""
        has_same_key = (schema.metadata or {}).get(b"twin.row_key", b"").decode() == self.row_key
        return has_same_key and self.dataset.schema.remove_metadata() == schema.remove_metadata()


def open_table(uri: str) -> StoredTable | None:
    """Open the newest version of a table, or return None if the table does not exist.

    Raises:
        StorageError: the table cannot be read.
        TwinError: this project did not write the table, or its schema version is newer.
    """
    import lance

    is_local = "://" not in uri
    action = f"open the table {uri}"
    with translate_storage_errors(
        action, uri, default=DamagedError if is_local else UnreachableError
    ):
        try:
            dataset = lance.dataset(
                uri,
                session=None if is_local else _object_store_session(),
            )
        except ValueError as error:
            if "was not found" not in str(error):
                raise
            if is_local and any(Path(uri, "data").glob("*.lance")):
                raise DamagedError.for_place(
                    uri, action, "its row files exist, but its versions do not"
                ) from error
            return None
    return _read_stored_table(dataset, uri)


@cache
def _object_store_session() -> Any:
    """Return the process's cache of manifests, so that opening a table again only lists them."""
    import lance

    return lance.Session(  # pyright: ignore[reportPrivateImportUsage]
        _SESSION_BYTES, _SESSION_BYTES
    )


def open_version(uri: str, version: int) -> StoredTable:
    """Open one version of a table without reading the newest one.

    Raises:
        DamagedError: the manifest is missing or cannot be read.
    """
    import lance

    with translate_storage_errors(
        f"open version {version} of the table {uri}", uri, default=DamagedError
    ):
        return _read_stored_table(lance.dataset(uri, version=version), uri)


def list_tables(uri: str) -> list[str]:
    """Return the sorted names of the tables in a folder or under a prefix.

    Raises:
        TwinError: the bucket cannot be listed.
    """
    names = _list_subfolders(uri)
    return [name.removesuffix(".lance") for name in names if name.endswith(".lance")]


def list_authors_with_tables(base: str) -> list[str]:
    """Return the sorted names of the authors that have a folder of tables.

    Raises:
        TwinError: the bucket cannot be listed.
    """
    return [name for name in _list_subfolders(base) if list_tables(f"{base}/{name}")]


def _list_subfolders(uri: str) -> list[str]:
    if is_object_address(uri):
        return list_folders(uri)
    return sorted(path.name for path in Path(uri).glob("*") if path.is_dir())


def _read_stored_table(dataset: LanceDataset, uri: str) -> StoredTable:
    metadata = {
        key.decode(): value.decode() for key, value in (dataset.schema.metadata or {}).items()
    }
    schema_version = int(metadata.get("twin.schema_number", "0"))
    if schema_version == 0:
        raise TwinError(
            f"open the table {uri}",
            found="a Lance dataset that this project did not write",
            next_step="move it away, or set a different TWIN_TABLES_URI",
        )
    check_schema(
        f"open the table {uri}",
        schema_version,
        SCHEMA_VERSION,
        next_step="run the newer llm-twin that wrote it, or set a different TWIN_TABLES_URI",
    )
    return StoredTable(dataset, uri, metadata["twin.row_key"], json.loads(metadata["twin.types"]))


def build_arrow_schema(schema: Mapping[str, pl.DataType], *, row_key: str) -> pa.Schema:
    """Return the Arrow schema on disk: user columns, bookkeeping columns and table metadata.

    Strings are Utf8, not LargeUtf8, because Lance cannot build a BTREE index on LargeUtf8.

    Raises:
        UnhashableColumnError: row hashes do not support a column's type.
        TwinError: a column would be read back with another type (Categorical, Enum).
    """
    import pyarrow as pa

    frame = pl.DataFrame(schema=schema)
    hash_rows(frame)
    arrow_fields = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    fields = [pa.field(field.name, _replace_large_types(field.type)) for field in arrow_fields]
    restored_schema = pl.DataFrame(pl.from_arrow(pa.schema(fields).empty_table())).schema
    unsupported_columns = [
        name
        for name, dtype in frame.schema.items()
        if restored_schema[name] != dtype or isinstance(dtype, pl.Categorical | pl.Enum)
    ]
    if unsupported_columns:
        raise TwinError(
            f"declare a table with the columns {unsupported_columns}",
            found=", ".join(f"{name}: {frame.schema[name]}" for name in unsupported_columns),
            next_step="declare a type that Arrow preserves (String for Categorical and Enum)",
        )
    hash_type = pa.binary(HASH_BYTES)
    fields += [
        pa.field("_input_key", pa.string()),
        pa.field("_input_hash", hash_type),
        pa.field("_version", pa.string()),
        pa.field("_row_hash", hash_type),
    ]
    metadata = {
        "twin.schema_number": str(SCHEMA_VERSION),
        "twin.row_key": row_key,
        "twin.types": json.dumps(column_types(schema), sort_keys=True),
    }
    return pa.schema(fields, metadata=metadata)


def column_types(schema: Mapping[str, pl.DataType]) -> dict[str, str]:
    """Map each column name to the project's name for its type."""
    return {name: type_name(dtype) for name, dtype in schema.items()}


def _replace_large_types(arrow_type: pa.DataType) -> pa.DataType:
    import pyarrow as pa
    from pyarrow import types

    if types.is_large_string(arrow_type):
        return pa.string()
    if types.is_large_binary(arrow_type):
        return pa.binary()
    if types.is_large_list(arrow_type):
        return pa.list_(_replace_large_types(arrow_type.value_type))
    if types.is_fixed_size_list(arrow_type):
        return pa.list_(_replace_large_types(arrow_type.value_type), arrow_type.list_size)
    if types.is_struct(arrow_type):
        return pa.struct(
            [pa.field(field.name, _replace_large_types(field.type)) for field in arrow_type]
        )
    return arrow_type


def to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Convert a frame to the table's types and column order."""
    table = frame.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(schema)


def create_table(uri: str, schema: pa.Schema) -> StoredTable:
    """Create an empty table."""
    import lance

    if "://" not in uri:
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
    dataset = lance.write_dataset(schema.empty_table(), uri, mode="create")
    return _read_stored_table(dataset, uri)


def polars_schema(table: StoredTable) -> pl.Schema:
    """Return the user columns with their Polars types."""
    empty_frame = pl.DataFrame(pl.from_arrow(table.dataset.schema.empty_table()))
    return empty_frame.select(table.columns).schema


def read_columns(
    table: StoredTable, columns: Sequence[str], *, where: str | None = None
) -> pl.DataFrame:
    """Read columns of the opened version in scan order.

    Raises:
        StorageError: the columns cannot be read.
        ValueError: `where` is not a valid filter for this table.
    """
    try:
        with _translate_read_errors(table):
            rows = table.dataset.to_table(columns=list(columns), filter=where, scan_in_order=True)
    except DamagedError:
        if where is not None:
            table.dataset.scanner(filter=where).explain_plan()  # reads no rows
        raise
    return pl.DataFrame(pl.from_arrow(rows))


@contextmanager
def _translate_read_errors(table: StoredTable) -> Generator[None]:
    """Convert an error while reading rows to a `StorageError` of the table's files."""
    with translate_storage_errors(f"read the table {table.uri}", table.uri, default=DamagedError):
        yield


def scan_batches(
    table: StoredTable, columns: Sequence[str], *, batch_size: int
) -> Iterator[pl.DataFrame]:
    """Yield columns of the opened version, at most `batch_size` rows at a time.

    Raises:
        StorageError: the rows cannot be read.
    """
    # One batch is read ahead instead of the default 16, which would dominate memory use.
    with _translate_read_errors(table):
        scanner = table.dataset.scanner(
            columns=list(columns), batch_size=batch_size, batch_readahead=1
        )
        batches = iter(scanner.to_batches())
    while True:
        with _translate_read_errors(table):
            batch = next(batches, None)
        if batch is None:
            return
        yield pl.DataFrame(pl.from_arrow(batch))


def merge_rows(
    table: StoredTable, rows: pa.Table, *, delete: Sequence[str]
) -> tuple[StoredTable, int]:
    """Upsert rows by `row_key` and delete the rows with keys in `delete`, in one commit.

    Returns:
        The table after the commit, and the bytes written.
    """
    if rows.num_rows == 0:
        return delete_rows(table, delete)
    builder = table.dataset.merge_insert(table.row_key)
    builder = builder.when_matched_update_all().when_not_matched_insert_all()
    if delete:
        key_list = ", ".join(quote_literal(key) for key in delete)
        builder = builder.when_not_matched_by_source_delete(f"`{table.row_key}` IN ({key_list})")
    transaction, _ = builder.execute_uncommitted(rows)
    return _commit(table, transaction)


def delete_rows(table: StoredTable, keys: Sequence[str]) -> tuple[StoredTable, int]:
    """Delete rows by `row_key` in one commit; return the new version and the bytes written."""
    import pyarrow as pa

    builder = table.dataset.merge_insert(table.row_key).when_matched_delete()
    key_table = pa.table({table.row_key: pa.array(keys, pa.string())})
    transaction, _ = builder.execute_uncommitted(key_table)
    return _commit(table, transaction)


def stage_rows(table: StoredTable, rows: pa.Table) -> list[Any]:
    """Write rows to files that belong to no version until `replace_all_rows` commits them."""
    from lance.fragment import write_fragments

    return list(write_fragments(rows, table.dataset, schema=rows.schema, mode="overwrite"))


def replace_all_rows(
    table: StoredTable, schema: pa.Schema, fragments: list[Any]
) -> tuple[StoredTable, int]:
    """Replace all rows with staged files of a new schema; return the table and bytes written.

    Readers see the old table until this commit completes. Tagged versions do not change.
    """
    from lance import LanceOperation
    from lance.dataset import Transaction

    operation = LanceOperation.Overwrite(schema, fragments)
    new_table, written_bytes = _commit(table, Transaction(table.dataset.version, operation))
    return _read_stored_table(new_table.dataset, table.uri), written_bytes


def commit_without_rows(table: StoredTable) -> StoredTable:
    """Return the table at a new version with the same rows."""
    from lance import LanceOperation
    from lance.dataset import Transaction

    changes = LanceOperation.UpdateMap({"twin.on": str(table.dataset.version)}, replace=False)
    operation = LanceOperation.UpdateConfig(config_updates=changes)
    return _commit(table, Transaction(table.dataset.version, operation))[0]


def _commit(table: StoredTable, transaction: Any) -> tuple[StoredTable, int]:
    from lance import LanceDataset

    dataset = LanceDataset.commit(table.dataset, transaction, max_retries=0)
    written_bytes = table.dataset.io_stats_incremental().written_bytes
    return StoredTable(dataset, table.uri, table.row_key, table.types), written_bytes


def read_data_version(table: StoredTable) -> str:
    """Return the data version of the stored rows: their hashes, schema and function versions."""
    rows = read_columns(table, ["_row_hash", "_version"])
    versions = sorted(rows["_version"].unique().to_list())
    return data_version(
        sum_hashes(rows["_row_hash"]), types=table.types, version=" / ".join(versions)
    )


def quote_literal(text: str) -> str:
    """Return text as a string literal in Lance's SQL."""
    return "'" + text.replace("'", "''") + "'"


def checkout_version(table: StoredTable, version: int | str) -> StoredTable:
    """Return the table at a version number or tag.

    Raises:
        StorageError: the version's manifest cannot be read.
        TwinError: the version or tag does not exist.
    """
    action = f"read version {version!r} of the table {table.uri}"
    with translate_storage_errors(action, table.uri, default=DamagedError):
        try:
            return _read_stored_table(table.dataset.checkout_version(version), table.uri)
        except (ValueError, OSError) as error:
            if not _has_version(table, version):
                raise TwinError(
                    action,
                    found=summarize_error(error),
                    next_step="choose a tag or version that still exists",
                ) from error
            raise


def _has_version(table: StoredTable, version: int | str) -> bool:
    """Return whether a tag or a version's manifest exists; False for a manifest in a bucket."""
    if isinstance(version, str):
        return version in table.dataset.tags.list()
    if "://" in table.uri:
        return False
    # Lance numbers manifests down from the largest number, so a listing starts with the newest
    # version.
    names = (f"{2**64 - 1 - version:020}.manifest", f"{version}.manifest")
    return any(Path(table.uri, "_versions", name).exists() for name in names)


def read_user_columns(
    table: StoredTable, columns: Sequence[str] | None, *, where: str | None
) -> pl.DataFrame:
    """Return user columns ordered by row key, so that equal tables give equal frames."""
    selected_columns = list(table.columns if columns is None else columns)
    columns_to_read = list(dict.fromkeys([*selected_columns, table.row_key]))
    return (
        read_columns(table, columns_to_read, where=where)
        .sort(table.row_key)
        .select(selected_columns)
    )
