"""What the ledger knows about an alarm: conditions before and since, readers.

Belongs here: reading it. Does not belong here: what it means (`statistics/diagnosis.py`,
`statistics/poisoning.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from twin_resources.quality.ledger.scores import DAY_MS, JUDGE
from twin_resources.quality.retraining import daily_aggregates
from twin_resources.statistics.detector import BEFORE_DAYS, Alarm
from twin_resources.statistics.diagnosis import cause_outside_the_weights
from twin_resources.statistics.poisoning import not_seen_by_others


@dataclass(frozen=True)
class Diagnosis:
    """What was found about one alarm.

    Attributes:
        cause_outside: a change that explains it without the weights; None: none was seen.
        few_readers: why only a few readers have seen it; empty: more have, or nobody can tell.
    """

    cause_outside: str | None = None
    few_readers: str = ""


def diagnose(connection: sa.Connection, alarm: Alarm, *, now_ms: int) -> Diagnosis:
    """Look at the readers of the values that raised an alarm, and at the answers behind them."""
    began_ms = daily_aggregates.answered_at(connection, alarm.author, alarm.since)
    before, since = (
        daily_aggregates.conditions(
            connection, alarm.author, version=alarm.version, since_ms=start_ms, until_ms=end_ms
        )
        for start_ms, end_ms in (
            (began_ms - BEFORE_DAYS * DAY_MS, began_ms),
            (began_ms, now_ms),
        )
    )
    few = ""
    if not alarm.stream.startswith(JUDGE):
        few = not_seen_by_others(
            daily_aggregates.reader_totals(
                connection,
                alarm.author,
                stream=alarm.stream,
                since=alarm.since,
                until=alarm.sequence,
                days=BEFORE_DAYS,
            )
        )
    # Without answers on both sides (past retention, say) nothing can have been seen to change.
    outside = cause_outside_the_weights(before, since) if before and since else None
    return Diagnosis(outside, few)
