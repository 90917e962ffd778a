"""What one sync of the ledger did, in numbers and in one line.

Scope: the report's fields and wording. Out of scope: doing it (`ledger.py`).
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class SyncReport:
    """What one `Ledger.sync` did; counted while it runs.

    Attributes:
        problem: why less than everything was done; empty: everything up to `lag_s` ago was read.
            With a problem nothing may be concluded from what is missing.
        requests, seconds: spent.
        traces, scores: rows that are new in the ledger.
        changed, deleted, late: scores that were; a settled value is not touched by it.
        bad: new scores that never count, by reason.
        settled: new values, by author.
        held: reader-days that were not settled, by what their scores are now (`capped`: above the
            reader's share; `beyond`: of a day with more than three usual days have; `new`: of new
            readers above a tenth of a day).
        frontier_ms, goal_ms: how far scores were read, and the newest instant that could be.
        reconciling: a pass over the last days is not finished.
        unread: traces and milliseconds that the trace store fails for when asked for them alone,
            and why; their scores wait for the pass over the last days.
        rewound_s: by how much a clock had been ahead when it was read before; what it passed over
            is read now. 0: it was not.
    """

    problem: str = ""
    requests: int = 0
    seconds: float = 0.0
    traces: int = 0
    scores: int = 0
    changed: int = 0
    deleted: int = 0
    late: int = 0
    bad: Counter[str] = field(default_factory=Counter[str])
    settled: Counter[str] = field(default_factory=Counter[str])
    held: Counter[str] = field(default_factory=Counter[str])
    frontier_ms: int = 0
    goal_ms: int = 0
    reconciling: bool = False
    unread: list[str] = field(default_factory=list[str])
    rewound_s: float = 0.0

    @property
    def behind_s(self) -> float:
        """How far scores are behind the newest instant that could be read; 0: caught up."""
        return max(self.goal_ms - self.frontier_ms, 0) / 1000

    @property
    def caught_up(self) -> bool:
        """Whether everything that could be read was read."""
        return not self.problem and self.behind_s == 0

    @property
    def message(self) -> str:
        """One line for a tick."""
        parts = [self.problem] if self.problem else []
        parts.append(f"{self.scores:,} new scores, {sum(self.settled.values()):,} settled")
        parts += [f"{number:,} {what}" for what, number in self._rest() if number]
        if self.unread:
            parts.append(f"{len(self.unread):,} not read ({self.unread[0]})")
        if self.rewound_s:
            ahead = f"{self.rewound_s:,.0f} s ahead"
            parts.append(f"was read by a clock {ahead}: goes on from the newest score")
        if self.behind_s:
            parts.append(f"{self.behind_s:,.0f} s behind")
        return "; ".join(parts)

    def _rest(self) -> list[tuple[str, int]]:
        bad = ", ".join(sorted(self.bad))
        return [
            ("changed", self.changed),
            ("deleted", self.deleted),
            ("late", self.late),
            (f"that never count ({bad})", sum(self.bad.values())),
            ("reader-days above their share", self.held["capped"]),
            ("above three usual days", self.held["beyond"]),
            ("of new readers above a tenth of a day", self.held["new"]),
        ]
