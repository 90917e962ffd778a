"""The cost depends on the change: which columns are read, how many bytes are written."""

from __future__ import annotations

import lance
import polars as pl
import pyarrow as pa
import pytest

from tests.graph.tables.words import posts
from twin_resources.storage.tables.tables import SyncResult, Tables, Upstream

SCHEMA: dict[str, pl.DataType] = {"post": pl.String(), "text": pl.String()}
NARROW = {"post", "_input_key", "_input_hash", "_version", "_row_hash"}


def copy(tables: Tables, upstream: pl.DataFrame | Upstream, into: str) -> SyncResult:
    return tables.sync(
        upstream, into, author="mara", key="post", function=lambda rows: rows, version="1",
        schema=SCHEMA, row_key="post",
    )  # fmt: skip


@pytest.fixture
def texts(tables: Tables) -> dict[str, str]:
    """A thousand posts of 2 KB, stored as `raw` and as `clean`, which is made from it."""
    texts_by_name = {
        f"p{number:04}": f"post {number} " + f"{number * 7919} " * 300 for number in range(1000)
    }
    assert copy(tables, posts(texts_by_name), "raw").computed == 1000
    assert copy(tables, Upstream("raw", "mara"), "clean").computed == 1000
    return texts_by_name


@pytest.fixture
def scanned(texts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Record the columns of every whole scan from now on."""
    columns: list[set[str]] = []
    to_table = lance.LanceDataset.to_table

    def watched(dataset: lance.LanceDataset, *args: object, **named: object) -> pa.Table:
        columns.append(set(named["columns"]))  # type: ignore[call-overload]
        return to_table(dataset, *args, **named)

    monkeypatch.setattr(lance.LanceDataset, "to_table", watched)
    return columns


def test_an_unchanged_upstream_is_read_by_key_and_hash(
    tables: Tables, scanned: list[set[str]]
) -> None:
    assert copy(tables, Upstream("raw", "mara"), "clean").computed == 0
    assert scanned == [{"post", "_row_hash"}, {"_input_key", "_input_hash", "_version"}]


def test_ten_edited_posts_cost_ten_posts(
    tables: Tables, texts: dict[str, str], scanned: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    take = lance.LanceDataset.take

    def watched(dataset: lance.LanceDataset, indices: list[int], **named: object) -> pa.Table:
        taken.append(len(indices))
        return take(dataset, indices, **named)

    monkeypatch.setattr(lance.LanceDataset, "take", watched)
    edited = texts | {f"p{number:04}": "edited " * 300 for number in range(0, 1000, 100)}
    first = copy(tables, posts(edited), "raw")
    second = copy(tables, Upstream("raw", "mara"), "clean")
    for report in (first, second):
        assert (report.computed, report.written, report.deleted, report.rows) == (10, 10, 0, 1000)
        # Ten posts are 21 KB of text; a thousand are 2.2 MB.
        assert report.bytes_written < 60_000
    assert taken == [10], "the text of ten posts and no other"
    assert all(columns <= NARROW for columns in scanned)
