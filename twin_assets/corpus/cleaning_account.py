"""Account for imported posts: each is kept, or dropped with a reason.

Scope: counting. Out of scope: cleaning, the check as Dagster sees it.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class PostCounts:
    """Counts of posts, for the claim that none was lost between import and cleaning."""

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
        faults = self.missing + self.unknown + self.duplicated + self.without_reason
        explained = self.kept + self.dropped + self.quarantined
        return not faults and explained == self.imported


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
    imported, cleaned_ids, quarantined_ids = (
        set(raw["source_id"]),
        set(cleaned["source_id"]),
        set(quarantined),
    )
    accounted_ids = cleaned_ids | quarantined_ids
    accepted = cleaned.filter(pl.col("kept"))
    dropped = cleaned.filter(~pl.col("kept") & (pl.col("dropped_because") != ""))
    return PostCounts(
        imported=len(imported),
        kept=accepted.height,
        dropped=dropped.height,
        quarantined=len(quarantined_ids),
        missing=len(imported - accounted_ids),
        unknown=len(accounted_ids - imported),
        duplicated=cleaned.height - len(cleaned_ids) + len(cleaned_ids & quarantined_ids),
        without_reason=cleaned.height - accepted.height - dropped.height,
    )


def count_dropped_by_reason(cleaned: pl.DataFrame) -> dict[str, int]:
    """Return the number of dropped posts by `dropped_because`, most frequent first."""
    dropped = cleaned.filter(pl.col("dropped_because") != "")
    counts = dropped.group_by("dropped_because").len().sort("len", "dropped_because")
    return {str(reason): int(count) for reason, count in reversed(counts.rows())}
