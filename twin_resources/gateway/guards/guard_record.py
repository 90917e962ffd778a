"""What the guards found for one answer, as its trace and its scores tell it.

Scope: counting findings. Out of scope: finding (`guards/`), acting
(`guardrails.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from twin_resources.authors.guard_settings import GuardPlace
from twin_resources.gateway.guards import GuardFinding


@dataclass(frozen=True)
class GuardRecord:
    """What was found for one answer, as its trace tells it: kinds and counts, never a value."""

    place: GuardPlace
    what: str
    kind: str
    action: str
    count: int

    def __str__(self) -> str:
        return f"{self.place}:{self.what}:{self.action}:{self.count}"


def records(place: GuardPlace, findings: Iterable[GuardFinding]) -> tuple[GuardRecord, ...]:
    """Findings counted, in a fixed order."""
    counts = Counter((finding.what, finding.kind, finding.action) for finding in findings)
    return tuple(
        GuardRecord(place, what, kind, action, count)
        for (what, kind, action), count in sorted(counts.items())
    )


def guard_scores(guarded: Iterable[GuardRecord]) -> Mapping[str, float]:
    """Findings by kind: `guard_personal` … to their number; a kind without one is left out."""
    counts: Counter[str] = Counter()
    for record in guarded:
        counts[f"guard_{record.kind}"] += record.count
    return {name: float(count) for name, count in sorted(counts.items())}
