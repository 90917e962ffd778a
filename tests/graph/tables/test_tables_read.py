"""Test reading tables: columns, filters, versions, tags, lazy scans and errors."""

from __future__ import annotations

import json

import lance
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from tests.graph.tables.words import SCHEMA, sync_words
from twin_resources.errors import TwinError
from twin_resources.storage.tables.store import BOOKKEEPING_COLUMNS
from twin_resources.storage.tables.tables import TableNotFoundError, Tables

TEXTS = {"a": "one two", "b": "three", "d": "four five six"}


@pytest.fixture
def word_tables(tables: Tables) -> Tables:
    sync_words(tables, TEXTS)
    return tables


def test_bookkeeping_columns_are_not_read(word_tables: Tables) -> None:
    assert word_tables.read("words", "mara").columns == list(SCHEMA)
    with pytest.raises(TwinError, match=r"no columns \['_row_hash'\].*choose from"):
        word_tables.read("words", "mara", columns=["_row_hash"])


def test_versions_and_tags_are_read(word_tables: Tables) -> None:
    first = word_tables.tag("words", "mara", "trained")
    sync_words(word_tables, {"a": "x"})
    assert word_tables.read("words", "mara", version=first).height == 6
    assert word_tables.read("words", "mara", version="trained").height == 6
    assert word_tables.read("words", "mara").height == 1
    assert word_tables.tag("words", "mara", "trained") == word_tables.lance_version("words", "mara")
    assert word_tables.read("words", "mara", version="trained").height == 1
    for unknown in ("no-such-tag", 99):
        with pytest.raises(TwinError, match="choose a tag or version that still exists"):
            word_tables.read("words", "mara", version=unknown)


def test_a_scan_is_lazy_pinned_and_equal_to_a_read(word_tables: Tables) -> None:
    scan = word_tables.scan("words", "mara")
    assert scan.collect_schema() == pl.Schema(SCHEMA)
    expected = word_tables.read("words", "mara")
    sync_words(word_tables, {"a": "x"})
    assert_frame_equal(scan.collect(), expected)
    query = scan.filter(pl.col("length") == 3).select("word")
    expected_rows = expected.filter(pl.col("length") == 3).select("word")
    assert_frame_equal(query.collect(), expected_rows)
    assert_frame_equal(scan.head(2).collect(), expected.head(2))
    assert scan.select(pl.len()).collect().item() == 6


def test_a_scan_reads_only_the_columns_of_the_query(
    word_tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    column_lists: list[list[str]] = []
    to_table = lance.LanceDataset.to_table

    def record_columns(dataset: lance.LanceDataset, *args: object, **options: object) -> pa.Table:
        column_lists.append(list(options["columns"]))  # type: ignore[arg-type]
        return to_table(dataset, *args, **options)

    monkeypatch.setattr(lance.LanceDataset, "to_table", record_columns)
    word_tables.scan("words", "mara").select(pl.col("length").sum()).collect()
    assert column_lists == [["length", "word_id"]]


def test_a_missing_table_names_the_asset_to_materialize(tables: Tables) -> None:
    assert not tables.exists("words", "mara")
    assert tables.data_version("words", "mara") is None
    assert tables.lance_version("words", "mara") is None
    for read in (tables.read, tables.scan):
        with pytest.raises(TableNotFoundError, match="asset 'words' for the partition 'mara'"):
            read("words", "mara")
    with pytest.raises(TableNotFoundError):
        tables.tag("words", "mara", "trained")


def test_a_newer_schema_version_is_refused_with_advice(word_tables: Tables) -> None:
    uri = word_tables.uri("words", "mara")
    dataset = lance.dataset(uri)
    metadata = {key.decode(): value.decode() for key, value in dataset.schema.metadata.items()}
    dataset.replace_schema_metadata(metadata | {"twin.schema_number": "2"})
    for operation in (
        lambda: word_tables.read("words", "mara"),
        lambda: sync_words(word_tables, TEXTS),
        lambda: word_tables.data_version("words", "mara"),
    ):
        with pytest.raises(TwinError, match=r"schema version 2; this code reads up to 1.*newer"):
            operation()


def test_a_foreign_dataset_is_left_unchanged(tables: Tables) -> None:
    uri = tables.uri("words", "mara")
    lance.write_dataset(pa.table({"word_id": ["a"]}), uri)
    with pytest.raises(TwinError, match="a Lance dataset that this project did not write"):
        sync_words(tables, TEXTS)
    assert lance.dataset(uri).version == 1


def test_an_index_changes_the_lance_version_but_not_the_data_version(word_tables: Tables) -> None:
    before = word_tables.data_version("words", "mara")
    first = word_tables.ensure_index("words", "mara", "post")
    assert word_tables.ensure_index("words", "mara", "post") == first, "a needless new version"
    assert word_tables.data_version("words", "mara") == before
    assert sync_words(word_tables, TEXTS).computed_count == 0
    sync_words(word_tables, TEXTS | {"e": "seven"})
    word_tables.ensure_index("words", "mara", "post")
    indices = lance.dataset(word_tables.uri("words", "mara")).describe_indices()
    assert {index.num_rows_indexed for index in indices} == {7}
    assert (
        word_tables.data_version("words", "mara")
        == sync_words(word_tables, TEXTS | {"e": "seven"}, author="alone").data_version
    )


def test_the_metadata_of_a_sync_has_only_numbers(tables: Tables) -> None:
    metadata = sync_words(tables, TEXTS).metadata()
    assert metadata["dagster/row_count"] == 6
    assert metadata["computed"] == 3
    assert all(isinstance(value, int) for value in metadata.values())
    json.dumps(metadata)


def test_bookkeeping_is_stored_as_narrow_columns(word_tables: Tables) -> None:
    schema = lance.dataset(word_tables.uri("words", "mara")).schema
    assert schema.names[-4:] == list(BOOKKEEPING_COLUMNS)
    assert schema.field("word").type == pa.string()
    assert schema.field("_row_hash").type == pa.binary(32)
    assert schema.field("_input_hash").type == pa.binary(32)
