"""A split that is not the one that was stored is counted."""

from __future__ import annotations

import polars as pl

from twin_assets.instructions.stored_splits import compare_splits

DRAWN = pl.DataFrame({"document_id": ["a", "b", "c"], "split": ["train", "held_out", "train"]})
ROWS = pl.DataFrame(
    {"document_id": ["a", "a", "b", "c"], "split": ["train", "left_out", "held_out", "left_out"]}
)


def split(document: str, name: str) -> pl.DataFrame:
    changed = pl.when(pl.col("document_id") == document).then(pl.lit(name)).otherwise("split")
    return ROWS.with_columns(changed.alias("split"))


def test_what_is_left_out_has_no_split() -> None:
    found = compare_splits(ROWS, DRAWN, [split("c", "train"), split("a", "left_out")])
    assert found.is_unchanged
    assert found.versions == 2


def test_a_split_that_was_not_drawn_is_counted() -> None:
    assert compare_splits(split("a", "held_out"), DRAWN, []).not_drawn == 1
    unknown = DRAWN.filter(pl.col("document_id") != "b")
    assert compare_splits(ROWS, unknown, []).not_drawn == 1


def test_any_earlier_version_counts() -> None:
    found = compare_splits(ROWS, DRAWN, [ROWS, split("b", "train"), ROWS])
    assert (found.changed, found.not_drawn, found.is_unchanged) == (1, 0, False)
    assert compare_splits(ROWS, DRAWN, [ROWS.head(1)]).is_unchanged
