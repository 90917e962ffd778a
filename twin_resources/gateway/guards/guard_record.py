"""Count the guards' findings for one answer, for its trace and its scores.

Scope: counting findings. Out of scope: detection (`guards/`), masking and blocking
(`guardrails.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from twin_resources.authors.guard_settings import GuardPlace
from twin_resources.gateway.guards.scanning import GuardFinding


@dataclass(frozen=True)
class GuardRecord:
    """The number of findings of one kind for one answer, without their values, for the trace."""

    place: GuardPlace
    category: str
    kind: str
    action: str
    count: int

    def __str__(self) -> str:
        return f"{self.place}:{self.category}:{self.action}:{self.count}"


def summarize_findings(
    place: GuardPlace, findings: Iterable[GuardFinding]
) -> tuple[GuardRecord, ...]:
    """Return the counts of the findings, in a fixed order."""
    counts = Counter((finding.category, finding.kind, finding.action) for finding in findings)
    return tuple(
        GuardRecord(place, category, kind, action, count)
        for (category, kind, action), count in sorted(counts.items())
    )


def guard_scores(records: Iterable[GuardRecord]) -> Mapping[str, float]:
    """Return the number of findings by kind (`guard_personal` …), without empty kinds."""
    counts: Counter[str] = Counter()
    for record in records:
        counts[f"guard_{record.kind}"] += record.count
    return {name: float(count) for name, count in sorted(counts.items())}
