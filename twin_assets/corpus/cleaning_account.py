"""Count imported posts and reconcile them with the cleaned ones.

Scope: counting. Out of scope: cleaning, the Dagster check.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class PostCounts:
    """Post counts that show whether any post was lost between import and cleaning."""

    imported: int
    kept: int
    dropped: int
    quarantined: int
    missing: int
    unknown: int
    duplicated: int
    without_reason: int

    @property
    def is_balanced(self) -> bool:
        errors = self.missing + self.unknown + self.duplicated + self.without_reason
        accounted_posts = self.kept + self.dropped + self.quarantined
        return not errors and accounted_posts == self.imported


def reconcile_posts(
    raw: pl.DataFrame, cleaned: pl.DataFrame, *, quarantined: Iterable[str] = ()
) -> PostCounts:
    """Compare the imported posts with the cleaned rows by `source_id`, and count them.

    Posts are compared by identity, because sums would still match if one post were lost and another
    duplicated.

    Args:
        raw: `source_id` of the imported posts.
        cleaned: `source_id`, `kept` and `dropped_because`.
        quarantined: `source_id` of the quarantined rows.
    """
    imported_ids, cleaned_ids, quarantined_ids = (
        set(raw["source_id"]),
        set(cleaned["source_id"]),
        set(quarantined),
    )
    accounted_ids = cleaned_ids | quarantined_ids
    kept_rows = cleaned.filter(pl.col("kept"))
    dropped_rows = cleaned.filter(~pl.col("kept") & (pl.col("dropped_because") != ""))
    return PostCounts(
        imported=len(imported_ids),
        kept=kept_rows.height,
        dropped=dropped_rows.height,
        quarantined=len(quarantined_ids),
        missing=len(imported_ids - accounted_ids),
        unknown=len(accounted_ids - imported_ids),
        duplicated=cleaned.height - len(cleaned_ids) + len(cleaned_ids & quarantined_ids),
        without_reason=cleaned.height - kept_rows.height - dropped_rows.height,
    )


def count_dropped_by_reason(cleaned: pl.DataFrame) -> dict[str, int]:
    """Return the number of dropped posts by `dropped_because`, most frequent first."""
    dropped_rows = cleaned.filter(pl.col("dropped_because") != "")
    counts = dropped_rows.group_by("dropped_because").len().sort("len", "dropped_because")
    return {str(reason): int(count) for reason, count in reversed(counts.rows())}
