from __future__ import annotations

import polars as pl
import pytest

from twin_assets.knowledge.embedding import unsearchable

CHUNKS = pl.Series("chunk_id", ["a", "b"])


def rows(**changed: list[object]) -> pl.DataFrame:
    values = {
        "chunk_id": ["a", "b"],
        "embedder": ["now", "now"],
        "vector": [[1.0, 0.0], [0.6, 0.8]],
    } | changed
    return pl.DataFrame(values, schema_overrides={"vector": pl.Array(pl.Float32, 2)})


def test_a_sound_table_counts_nothing() -> None:
    assert not any(unsearchable(rows(), CHUNKS, revision="now").values())


@pytest.mark.parametrize(
    ("count", "broken"),
    [
        ("unknown", rows(chunk_id=["a", "z"])),
        ("missing", rows(chunk_id=["a", "z"])),
        ("missing", rows().head(1)),
        ("other_embedder", rows(embedder=["now", "before"])),
        ("not_unit_length", rows(vector=[[1.0, 0.0], [0.0, 0.0]])),
        ("not_unit_length", rows(vector=[[1.0, 0.0], [float("nan"), 0.0]])),
    ],
)
def test_what_could_not_be_found_is_counted(count: str, broken: pl.DataFrame) -> None:
    assert unsearchable(broken, CHUNKS, revision="now")[count] == 1
