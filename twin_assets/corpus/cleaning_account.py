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
    """Numbers of posts, for the claim that none was lost between import and cleaning."""

    imported: int
    kept: int
    dropped: int
    quarantined: int
    missing: int
    unknown: int
    twice: int
    without_reason: int

    @property
    def balanced(self) -> bool:
        faults = self.missing + self.unknown + self.twice + self.without_reason
        explained = self.kept + self.dropped + self.quarantined
        return not faults and explained == self.imported


def account_for(
    raw: pl.DataFrame, cleaned: pl.DataFrame, *, quarantined: Iterable[str] = ()
) -> PostCounts:
    """Compare `source_id` of the imported posts with `source_id`, `kept`, `dropped_because`.

    Posts are compared by identity, because sums would still match if one post were lost and another
    doubled.

    Args:
        quarantined: `source_id` of rows that were quarantined with the rule that they break.
    """
    imported, cleaned_ids, aside = (
        set(raw["source_id"]),
        set(cleaned["source_id"]),
        set(quarantined),
    )
    documents = cleaned_ids | aside
    accepted = cleaned.filter(pl.col("kept"))
    dropped = cleaned.filter(~pl.col("kept") & (pl.col("dropped_because") != ""))
    return PostCounts(
        imported=len(imported),
        kept=accepted.height,
        dropped=dropped.height,
        quarantined=len(aside),
        missing=len(imported - documents),
        unknown=len(documents - imported),
        twice=cleaned.height - len(cleaned_ids) + len(cleaned_ids & aside),
        without_reason=cleaned.height - accepted.height - dropped.height,
    )


def dropped_by_reason(cleaned: pl.DataFrame) -> dict[str, int]:
    """Return the number of dropped posts by `dropped_because`, most frequent first."""
    dropped = cleaned.filter(pl.col("dropped_because") != "")
    counts = dropped.group_by("dropped_because").len().sort("len", "dropped_because")
    return {str(reason): int(count) for reason, count in reversed(counts.rows())}
