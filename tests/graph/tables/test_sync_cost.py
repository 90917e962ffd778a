"""Test that the cost of a sync depends on the change: the columns read and the bytes written."""

from __future__ import annotations

import lance
import polars as pl
import pyarrow as pa
import pytest

from tests.graph.tables.words import build_posts
from twin_resources.storage.tables.tables import SyncResult, Tables, Upstream

SCHEMA: dict[str, pl.DataType] = {"post": pl.String(), "text": pl.String()}
NARROW_COLUMNS = {"post", "_input_key", "_input_hash", "_version", "_row_hash"}


def sync_copy(tables: Tables, upstream: pl.DataFrame | Upstream, target_asset: str) -> SyncResult:
    return tables.sync(
        upstream, target_asset, author="mara", key="post", function=lambda rows: rows, version="1",
        schema=SCHEMA, row_key="post",
    )  # fmt: skip


@pytest.fixture
def texts(tables: Tables) -> dict[str, str]:
    """Store a thousand posts of 2 KB as `raw`, copy them to `clean`, and return their texts."""
    texts_by_name = {
        f"p{number:04}": f"post {number} " + f"{number * 7919} " * 300 for number in range(1000)
    }
    assert sync_copy(tables, build_posts(texts_by_name), "raw").computed_count == 1000
    assert sync_copy(tables, Upstream("raw", "mara"), "clean").computed_count == 1000
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


def test_only_edited_posts_are_read_and_written(
    tables: Tables, texts: dict[str, str], scans: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sync_copy(tables, Upstream("raw", "mara"), "clean").computed_count == 0
    assert scans == [{"post", "_row_hash"}, {"_input_key", "_input_hash", "_version"}]
    row_counts: list[int] = []
    take = lance.LanceDataset.take

    def record_take(dataset: lance.LanceDataset, indices: list[int], **options: object) -> pa.Table:
        row_counts.append(len(indices))
        return take(dataset, indices, **options)

    monkeypatch.setattr(lance.LanceDataset, "take", record_take)
    edited = texts | {f"p{number:04}": "edited " * 300 for number in range(0, 1000, 100)}
    first = sync_copy(tables, build_posts(edited), "raw")
    second = sync_copy(tables, Upstream("raw", "mara"), "clean")
    for report in (first, second):
        assert (report.computed_count, report.written_count) == (10, 10)
        assert (report.deleted_count, report.row_count) == (0, 1000)
        # Ten posts are 21 KB of text; a thousand are 2.2 MB.
        assert report.bytes_written < 60_000
    assert row_counts == [10], "expected to read only the ten edited posts"
    assert all(columns <= NARROW_COLUMNS for columns in scans)
