"""Test that the cost of a sync depends on the change: the columns read and the bytes written."""

from __future__ import annotations

import lance
import polars as pl
import pyarrow as pa
import pytest

from tests.graph.tables.words import build_posts
from twin_resources.storage.tables.tables import SyncResult, Tables

SCHEMA: dict[str, pl.DataType] = {"post": pl.String(), "text": pl.String()}
NARROW_COLUMNS = {"post", "_input_key", "_input_hash", "_version", "_row_hash"}


def sync_posts(tables: Tables, texts: dict[str, str]) -> SyncResult:
    return tables.sync(
        build_posts(texts), "posts", author="mara", key="post", version="1",
        function=lambda rows: rows, schema=SCHEMA, row_key="post",
    )  # fmt: skip


@pytest.fixture
def texts(tables: Tables) -> dict[str, str]:
    """Store a thousand posts of 2 KB, and return their texts."""
    texts_by_name = {
        f"p{number:04}": f"post {number} " + f"{number * 7919} " * 300 for number in range(1000)
    }
    assert sync_posts(tables, texts_by_name).computed_count == 1000
    return texts_by_name


@pytest.fixture
def scans(texts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Record the columns of every complete scan in the returned list."""
    columns: list[set[str]] = []
    to_table = lance.LanceDataset.to_table

    def record_scan(dataset: lance.LanceDataset, *args: object, **options: object) -> pa.Table:
        columns.append(set(options["columns"]))  # type: ignore[call-overload]
        return to_table(dataset, *args, **options)

    monkeypatch.setattr(lance.LanceDataset, "to_table", record_scan)
    return columns


def test_only_edited_posts_are_written(
    tables: Tables, texts: dict[str, str], scans: list[set[str]]
) -> None:
    assert sync_posts(tables, texts).computed_count == 0
    assert scans == [{"_input_key", "_input_hash", "_version"}, {"_row_hash", "_version"}]
    edited = texts | {f"p{number:04}": "edited " * 300 for number in range(0, 1000, 100)}
    report = sync_posts(tables, edited)
    assert (report.computed_count, report.written_count) == (10, 10)
    assert (report.deleted_count, report.row_count) == (0, 1000)
    # Ten posts are 21 KB of text; a thousand are 2.2 MB.
    assert report.bytes_written < 60_000
    assert all(columns <= NARROW_COLUMNS for columns in scans)
