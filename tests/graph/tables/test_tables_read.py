"""Reading: columns, filters, versions, tags, lazy scans, and what is refused."""

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
def filled(tables: Tables) -> Tables:
    sync_words(tables, TEXTS)
    return tables


def test_bookkeeping_is_not_shown(filled: Tables) -> None:
    assert filled.read("words", "mara").columns == list(SCHEMA)
    with pytest.raises(TwinError, match=r"no columns \['_row_hash'\].*choose from"):
        filled.read("words", "mara", columns=["_row_hash"])


def test_rows_come_by_row_key_whatever_wrote_them_when(filled: Tables) -> None:
    sync_words(filled, TEXTS | {"a": "uno dos"})
    keys = filled.read("words", "mara", columns=["word_id"])["word_id"].to_list()
    assert keys == sorted(keys)
    assert filled.read("words", "mara", columns=["word"])["word"][0] == "uno"


def test_a_filter_is_sql(filled: Tables) -> None:
    rows = filled.read("words", "mara", columns=["word"], where="length = 3 AND post != 'd'")
    assert rows["word"].to_list() == ["one", "two"]
    with pytest.raises(TwinError, match="correct the SQL filter"):
        filled.read("words", "mara", where="length = = 3")
    with pytest.raises(TwinError, match="correct the SQL filter"):
        filled.read("words", "mara", where="nothing = 3")


def test_versions_and_tags(filled: Tables) -> None:
    first = filled.tag("words", "mara", "trained")
    sync_words(filled, {"a": "x"})
    assert filled.read("words", "mara", version=first).height == 6
    assert filled.read("words", "mara", version="trained").height == 6
    assert filled.read("words", "mara").height == 1
    assert filled.tag("words", "mara", "trained") == filled.lance_version("words", "mara")
    assert filled.read("words", "mara", version="trained").height == 1
    for unknown in ("no-such-tag", 99):
        with pytest.raises(TwinError, match="choose a tag or version that still exists"):
            filled.read("words", "mara", version=unknown)


def test_a_scan_is_lazy_pinned_and_equal_to_a_read(filled: Tables) -> None:
    scan = filled.scan("words", "mara")
    assert scan.collect_schema() == pl.Schema(SCHEMA)
    expected = filled.read("words", "mara")
    sync_words(filled, {"a": "x"})
    assert_frame_equal(scan.collect(), expected)
    query = scan.filter(pl.col("length") == 3).select("word")
    expected_rows = expected.filter(pl.col("length") == 3).select("word")
    assert_frame_equal(query.collect(), expected_rows)
    assert_frame_equal(scan.head(2).collect(), expected.head(2))
    assert scan.select(pl.len()).collect().item() == 6


def test_a_scan_reads_only_the_columns_of_the_query(
    filled: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    to_table = lance.LanceDataset.to_table

    def watched(dataset: lance.LanceDataset, *args: object, **named: object) -> pa.Table:
        read.append(list(named["columns"]))  # type: ignore[arg-type]
        return to_table(dataset, *args, **named)

    monkeypatch.setattr(lance.LanceDataset, "to_table", watched)
    filled.scan("words", "mara").select(pl.col("length").sum()).collect()
    assert read == [["length", "word_id"]]


def test_what_is_missing_says_what_to_materialize(tables: Tables) -> None:
    assert not tables.exists("words", "mara")
    assert tables.data_version("words", "mara") is None
    assert tables.lance_version("words", "mara") is None
    for read in (tables.read, tables.scan):
        with pytest.raises(TableNotFoundError, match="asset 'words' for the partition 'mara'"):
            read("words", "mara")
    with pytest.raises(TableNotFoundError):
        tables.tag("words", "mara", "trained")


def test_a_newer_schema_number_is_refused_with_what_to_do(filled: Tables) -> None:
    uri = filled.uri("words", "mara")
    dataset = lance.dataset(uri)
    metadata = {key.decode(): value.decode() for key, value in dataset.schema.metadata.items()}
    dataset.replace_schema_metadata(metadata | {"twin.schema_number": "2"})
    for use in (
        lambda: filled.read("words", "mara"),
        lambda: sync_words(filled, TEXTS),
        lambda: filled.data_version("words", "mara"),
    ):
        with pytest.raises(TwinError, match=r"schema number 2; this code reads up to 1.*newer"):
            use()


def test_a_data_set_of_somebody_else_is_left_alone(tables: Tables) -> None:
    uri = tables.uri("words", "mara")
    lance.write_dataset(pa.table({"word_id": ["a"]}), uri)
    with pytest.raises(TwinError, match="a Lance dataset that this project did not write"):
        sync_words(tables, TEXTS)
    assert lance.dataset(uri).version == 1


def test_an_index_changes_the_lance_version_but_not_the_data_version(filled: Tables) -> None:
    before = filled.data_version("words", "mara")
    first = filled.ensure_index("words", "mara", "post")
    assert filled.ensure_index("words", "mara", "post") == first, "nothing new, no new version"
    assert filled.data_version("words", "mara") == before
    assert sync_words(filled, TEXTS).computed == 0
    sync_words(filled, TEXTS | {"e": "seven"})
    filled.ensure_index("words", "mara", "post")
    described = lance.dataset(filled.uri("words", "mara")).describe_indices()
    assert {index.num_rows_indexed for index in described} == {7}
    assert (
        filled.data_version("words", "mara")
        == sync_words(filled, TEXTS | {"e": "seven"}, author="alone").data_version
    )


def test_the_metadata_of_a_rework_holds_numbers_only(tables: Tables) -> None:
    metadata = sync_words(tables, TEXTS).metadata()
    assert metadata["dagster/row_count"] == 6
    assert metadata["computed"] == 3
    assert all(isinstance(value, int) for value in metadata.values())
    json.dumps(metadata)


def test_bookkeeping_is_stored_as_narrow_columns(filled: Tables) -> None:
    schema = lance.dataset(filled.uri("words", "mara")).schema
    assert schema.names[-4:] == list(BOOKKEEPING_COLUMNS)
    assert schema.field("_row_hash").type == pa.binary(32)
    assert schema.field("_input_hash").type == pa.binary(32)
