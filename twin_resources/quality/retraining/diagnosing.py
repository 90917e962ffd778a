"""What the ledger knows about an alarm: fallen classes, conditions before and since, readers.

Belongs here: reading it. Does not belong here: what it means (`statistics/diagnosis.py`,
`statistics/poisoning.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from twin_resources.quality.ledger.scores import DAY_MS, JUDGE
from twin_resources.quality.retraining import daily_aggregates
from twin_resources.statistics.detector import Alarm
from twin_resources.statistics.diagnosis import (
    Fall,
    cause_outside_the_weights,
    fallen_classes,
    since_the_drop,
)
from twin_resources.statistics.poisoning import EvidenceShares, carried_by

BEFORE_DAYS = 28
MOST_VALUES = 20_000


@dataclass(frozen=True)
class Diagnosis:
    """What was found about one alarm.

    Attributes:
        falls: classes below their baseline since the drop, deepest first.
        cause_outside: a change that explains it without the weights; None: none was seen.
        carried: by which readers; None for judged traces.
    """

    falls: tuple[Fall, ...] = ()
    cause_outside: str | None = None
    carried: EvidenceShares | None = None


def diagnose(
    connection: sa.Connection, alarm: Alarm, bounds: Mapping[str, float], *, now_ms: int
) -> Diagnosis:
    """Look at the values that raised an alarm, and at the answers behind them.

    Args:
        bounds: prompt class → m of the watch.
    """
    values = daily_aggregates.of_version(
        connection,
        alarm.author,
        version=alarm.version,
        stream=alarm.stream,
        after=alarm.since - 1,
        until=alarm.sequence,
        limit=MOST_VALUES,
        newest=True,  # a slow fall over years: what raised the alarm stands at its end
    )
    drop = since_the_drop(values, bounds)
    if not drop:
        return Diagnosis()
    began_ms = daily_aggregates.answered_at(connection, alarm.author, drop[0].sequence)
    before, since = (
        daily_aggregates.conditions(
            connection, alarm.author, version=alarm.version, since_ms=start_ms, until_ms=end_ms
        )
        for start_ms, end_ms in (
            (began_ms - BEFORE_DAYS * DAY_MS, began_ms),
            (began_ms, now_ms),
        )
    )
    carried = None
    if not alarm.stream.startswith(JUDGE):
        readers = {value.sequence: value.reader for value in values}
        earlier = [value for value in values if value.sequence < drop[0].sequence]
        carried = carried_by(drop, readers, bounds, before=earlier)
    return Diagnosis(
        falls=fallen_classes(drop, bounds),
        # Without answers on both sides (past retention, say) nothing can have been seen to change.
        cause_outside=cause_outside_the_weights(before, since) if before and since else None,
        carried=carried,
    )
