"""Report one ledger sync, in numbers and in one line.

Scope: the report's fields and wording.
Out of scope: the sync (`ledger.py`).
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class SyncReport:
    """Counts and problems of one `Ledger.sync`, filled while it runs.

    Attributes:
        problem: why the sync is incomplete, or empty. An incomplete sync does not show that a row
            is absent from the store.
        new_traces, new_scores: the number of rows that are new in the ledger.
        changed_scores, deleted_scores, late_scores: the number of scores that changed, were deleted
            or arrived late; settled values stay unchanged.
        invalid_scores: reason → the number of new scores that never count.
        settled_values: author → the number of new values.
        unsettled_days: status → the number of unsettled reader-days (`capped`: above the reader's
            share; `beyond`: above the limit of three usual days; `new`: of new readers, above a
            tenth of a day).
        frontier_ms, goal_ms: the time up to which scores were read, and the newest readable time.
        is_reconciling: whether a pass over the last days is unfinished.
        unread_items: the traces and milliseconds that the trace store fails to return even when
            they are requested alone, each with the reason. Their scores wait for the pass over the
            last days.
        switched_stores: which trace store is read now in place of which, or empty.
        rewound_s: the seconds by which the clock was ahead in an earlier sync, or 0. The rows that
            it skipped are read now.
    """

    problem: str = ""
    new_traces: int = 0
    new_scores: int = 0
    changed_scores: int = 0
    deleted_scores: int = 0
    late_scores: int = 0
    invalid_scores: Counter[str] = field(default_factory=Counter[str])
    settled_values: Counter[str] = field(default_factory=Counter[str])
    unsettled_days: Counter[str] = field(default_factory=Counter[str])
    frontier_ms: int = 0
    goal_ms: int = 0
    is_reconciling: bool = False
    unread_items: list[str] = field(default_factory=list[str])
    switched_stores: str = ""
    rewound_s: float = 0.0

    @property
    def backlog_s(self) -> float:
        """The seconds from the frontier of scores to the newest readable time; 0 if caught up."""
        return max(self.goal_ms - self.frontier_ms, 0) / 1000

    @property
    def message(self) -> str:
        """A one-line summary for a tick."""
        parts = [self.problem] if self.problem else []
        parts.append(f"{self.new_scores:,} new scores, {self.settled_values.total():,} settled")
        reasons = ", ".join(sorted(self.invalid_scores))
        counts = {
            "changed": self.changed_scores,
            "deleted": self.deleted_scores,
            "late": self.late_scores,
            f"that will never count ({reasons})": self.invalid_scores.total(),
            "reader-days above their reader's share": self.unsettled_days["capped"],
            "reader-days above the limit of three usual days": self.unsettled_days["beyond"],
            "reader-days of new readers above a tenth of a day": self.unsettled_days["new"],
        }
        parts += [f"{count:,} {label}" for label, count in counts.items() if count]
        if self.unread_items:
            parts.append(f"{len(self.unread_items):,} could not be read ({self.unread_items[0]})")
        if self.switched_stores:
            parts.append(f"{self.switched_stores}; earlier rows are kept")
        if self.rewound_s:
            lead_text = f"{self.rewound_s:,.0f} s ahead"
            parts.append(f"the clock had been {lead_text}: reading continues at the newest score")
        if self.backlog_s:
            parts.append(f"{self.backlog_s:,.0f} s behind")
        return "; ".join(parts)
