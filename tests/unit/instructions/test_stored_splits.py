"""Test that splits that differ from the stored splits are counted."""

from __future__ import annotations

import polars as pl

from twin_assets.instructions.stored_splits import compare_splits

DRAWS = pl.DataFrame({"document_id": ["a", "b", "c"], "split": ["train", "held_out", "train"]})
ROWS = pl.DataFrame(
    {"document_id": ["a", "a", "b", "c"], "split": ["train", "left_out", "held_out", "left_out"]}
)


def change_split(document: str, name: str) -> pl.DataFrame:
    value = pl.when(pl.col("document_id") == document).then(pl.lit(name)).otherwise("split")
    return ROWS.with_columns(value.alias("split"))


def test_left_out_samples_have_no_split() -> None:
    result = compare_splits(
        ROWS, DRAWS, [change_split("c", "train"), change_split("a", "left_out")]
    )
    assert result.is_unchanged
    assert result.versions == 2


def test_a_split_that_was_not_drawn_is_counted() -> None:
    assert compare_splits(change_split("a", "held_out"), DRAWS, []).not_drawn == 1
    unknown = DRAWS.filter(pl.col("document_id") != "b")
    assert compare_splits(ROWS, unknown, []).not_drawn == 1


def test_a_change_from_any_earlier_version_is_counted() -> None:
    result = compare_splits(ROWS, DRAWS, [ROWS, change_split("b", "train"), ROWS])
    assert (result.changed, result.not_drawn, result.is_unchanged) == (1, 0, False)
    assert compare_splits(ROWS, DRAWS, [ROWS.head(1)]).is_unchanged
