"""Reconcile the imported posts with the cleaned posts, and count both.

Scope: counting. Out of scope: cleaning, the Dagster check.
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import polars as pl

from twin_assets.corpus.corpus_tables import QUARANTINED

RECONCILIATION_ERRORS = ("missing", "unknown", "twice", "without_reason")


def reconcile_posts(raw_posts: pl.DataFrame, documents: pl.DataFrame) -> dict[str, int]:
    """Compare the imported posts with the cleaned rows by `source_id`, and count them.

    Posts are compared by identity, because sums would still match if one post were lost and another
    duplicated.

    Args:
        raw_posts: `source_id` of the imported posts.
        documents: `source_id`, `kept` and `dropped_because`.

    Returns:
        The counts of each outcome, and of each of `RECONCILIATION_ERRORS`.
    """
    imported_ids = set(raw_posts["source_id"])
    cleaned_ids = set(documents["source_id"])
    kept_rows = documents.filter(pl.col("kept"))
    dropped_rows = documents.filter(~pl.col("kept") & (pl.col("dropped_because") != ""))
    quarantined = int(dropped_rows["dropped_because"].str.starts_with(QUARANTINED).sum())
    return {
        "imported": len(imported_ids),
        "kept": kept_rows.height,
        "dropped": dropped_rows.height - quarantined,
        "quarantined": quarantined,
        "missing": len(imported_ids - cleaned_ids),
        "unknown": len(cleaned_ids - imported_ids),
        "twice": documents.height - len(cleaned_ids),
        "without_reason": documents.height - kept_rows.height - dropped_rows.height,
    }


def is_balanced(counts: Mapping[str, int]) -> bool:
    """Return whether no post was lost between import and cleaning (`reconcile_posts`)."""
    processed_count = counts["kept"] + counts["dropped"] + counts["quarantined"]
    return processed_count == counts["imported"] and not any(map(counts.get, RECONCILIATION_ERRORS))


def count_dropped_by_reason(documents: pl.DataFrame) -> dict[str, int]:
    """Return the number of dropped posts by `dropped_because`, the most frequent first."""
    return count_values(documents.filter(pl.col("dropped_because") != "")["dropped_because"])


def count_values(values: pl.Series) -> dict[str, int]:
    """Return how often each value occurs, the most frequent first."""
    return sum_counts(Counter(map(str, values.to_list())))


def sum_counts(*counts: Mapping[str, int]) -> dict[str, int]:
    """Add up several counts, and sort them by descending count, then by name."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
