"""Check that a dataset's splits match the draws and the splits of its earlier versions.

Scope: comparing the dataset with `document_splits` and with its own earlier versions. Out of scope:
drawing (`splits.py`), leaks between correct splits (`leakage.py`).

A document that a model was trained on must never be held out later, because the next gate would
evaluate on it. The dataset is therefore compared with every tagged version: the versions of the
checkpoints and the last sound version (`SOUND_TAG`). A comparison with only the previous version
would pass on a retry.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from twin_resources.storage.tables import store

if TYPE_CHECKING:
    from twin_resources.storage.tables.store import StoredTable
    from twin_resources.storage.tables.tables import Tables

DATASET_TABLE = "instruction_dataset"
SPLITS_TABLE = "document_splits"
SOUND_TAG = "sound-splits"
MAX_VERSIONS = 20  # only the newest versions; an old version differs only if a newer one does


@dataclass(frozen=True)
class SplitComparison:
    """Counts of documents whose split differs from a stored one.

    Attributes:
        versions: the number of earlier versions compared.
        not_drawn: documents whose split in the dataset is not that of `document_splits`.
        changed: documents whose split was different in an earlier version.
    """

    versions: int
    not_drawn: int
    changed: int

    @property
    def is_unchanged(self) -> bool:
        return not (self.not_drawn or self.changed)


def compare_splits(
    dataset: pl.DataFrame, draws: pl.DataFrame, earlier_versions: Iterable[pl.DataFrame]
) -> SplitComparison:
    """Compare the split of each document; left-out and general samples have no split.

    Args:
        dataset, draws, earlier_versions: `document_id`, `split`.
    """
    current_splits = _select_document_splits(dataset)
    comparison = current_splits.join(draws, on="document_id", how="left", suffix="_drawn")
    undrawn_rows = comparison.filter(pl.col("split").ne_missing(pl.col("split_drawn")))
    changed_ids: set[str] = set()
    version_count = 0
    for earlier_rows in earlier_versions:
        version_count += 1
        comparison = current_splits.join(
            _select_document_splits(earlier_rows), on="document_id", suffix="_before"
        )
        changed_rows = comparison.filter(pl.col("split") != pl.col("split_before"))
        changed_ids |= set(changed_rows["document_id"].to_list())
    return SplitComparison(version_count, undrawn_rows["document_id"].n_unique(), len(changed_ids))


def _select_document_splits(rows: pl.DataFrame) -> pl.DataFrame:
    used_rows = rows.filter(pl.col("split").is_in(["train", "held_out"]))
    return used_rows.select("document_id", "split").unique()


def compare_stored_splits(tables: Tables, author: str) -> SplitComparison:
    """Compare the stored dataset with the draws and its tagged versions."""
    table = store.open_table(tables.uri(DATASET_TABLE, author))
    versions = sorted(_list_tagged_versions(table) if table else (), reverse=True)
    columns = ["document_id", "split"]
    return compare_splits(
        tables.read(DATASET_TABLE, author, columns=columns),
        tables.read(SPLITS_TABLE, author, columns=columns),
        (
            tables.read(DATASET_TABLE, author, columns=columns, version=version)
            for version in versions[:MAX_VERSIONS]
        ),
    )


def _list_tagged_versions(table: StoredTable) -> set[int]:
    dataset = cast("Any", table.dataset)  # pyright: ignore[reportUnknownMemberType]
    tags = cast("dict[str, dict[str, Any]]", dataset.tags.list())
    return {int(tag["version"]) for tag in tags.values()}


def tag_sound_splits(tables: Tables, author: str) -> None:
    """Record the newest version as sound, for comparison with later versions."""
    tables.tag(DATASET_TABLE, author, SOUND_TAG)
