"""Test the counts of chunks that search would miss."""

from __future__ import annotations

import polars as pl
import pytest

from twin_assets.knowledge.embedding import count_unmatched, count_unusable_vectors

CHUNKS = pl.Series("chunk_id", ["a", "b"])


def build_rows(**changes: list[object]) -> pl.DataFrame:
    values = {
        "chunk_id": ["a", "b"],
        "embedder": ["now", "now"],
        "vector": [[1.0, 0.0], [0.6, 0.8]],
    } | changes
    return pl.DataFrame(values, schema_overrides={"vector": pl.Array(pl.Float32, 2)})


def count_errors(table: pl.DataFrame) -> dict[str, int]:
    return count_unmatched(table["chunk_id"], CHUNKS) | count_unusable_vectors(
        [table[:1], table[1:]], revision="now"
    )


def test_a_valid_table_has_no_errors() -> None:
    assert count_errors(build_rows()) == {
        "missing": 0, "unknown": 0, "other_embedder": 0, "not_unit_length": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("unknown", build_rows(chunk_id=["a", "z"])),
        ("missing", build_rows(chunk_id=["a", "z"])),
        ("missing", build_rows().head(1)),
        ("other_embedder", build_rows(embedder=["now", "before"])),
        ("not_unit_length", build_rows(vector=[[1.0, 0.0], [0.0, 0.0]])),
        ("not_unit_length", build_rows(vector=[[1.0, 0.0], [float("nan"), 0.0]])),
    ],
)
def test_unsearchable_chunks_are_counted(kind: str, table: pl.DataFrame) -> None:
    assert count_errors(table)[kind] == 1
