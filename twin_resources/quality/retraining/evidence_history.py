"""A stream's past as its detector saw it, for a plot: means, what they are held to, alarms.

Scope: looking at each day again. Out of scope: drawing (`twin_assets/feedback`), the
evidence that decides (`score_watch.py`).
"""
# pyright: strict

from __future__ import annotations

import math
from dataclasses import dataclass

import sqlalchemy as sa

from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.quality.retraining.score_watch import (
    ALARMS,
    StreamDays,
    armed_streams,
    stable_versions,
    watches_now,
)
from twin_resources.statistics.detector import Alarm, StreamEvidence

PLOTTED_DAYS = 90


@dataclass(frozen=True)
class EvidenceDay:
    """One day of a stream.

    Attributes:
        sequence: of its last value.
        mean: of its values; `bound`: what they are held to, weighted by class; None: arming.
        e_value: at its end. `alarm`: the number of the one that it raised.
    """

    sequence: int
    mean: float
    bound: float | None
    e_value: float
    alarm: int | None


@dataclass(frozen=True)
class StreamHistory:
    """One stream of the stable version.

    Attributes:
        watch: its evidence as it stands.
        steps: its newest days, at most 90, oldest first.
        threshold: C·N now; an alarm carries the one that it was raised with.
        alarms: all of this stream and version, by number.
    """

    watch: StreamEvidence
    steps: tuple[EvidenceDay, ...]
    threshold: float
    alarms: tuple[Alarm, ...]


def histories_of(connection: sa.Connection, author: str, rules: LoopRules) -> list[StreamHistory]:
    """Every stream of the version that is followed, up to the last day that was looked at."""
    limit = rules.threshold(armed_streams(connection))
    return [
        StreamHistory(
            watch,
            _steps(connection, watch, rules),
            limit,
            tuple(_alarms(connection, watch)),
        )
        for watch in watches_now(connection).get(author, [])
    ]


def _steps(
    connection: sa.Connection, watch: StreamEvidence, rules: LoopRules
) -> tuple[EvidenceDay, ...]:
    stable = stable_versions(connection).get(watch.author)
    if stable is None:
        return ()
    alarms = _alarms(connection, watch)
    # Each stretch between two alarms as it was compared then: an alarm makes what was before it
    # history.
    stretches = [
        StreamDays.of(connection, stable, watch.stream, rules, before=alarm.number)
        for alarm in alarms
    ]
    stretches.append(StreamDays.of(connection, stable, watch.stream, rules))
    known = {alarm.sequence: alarm.number for alarm in alarms}
    looked: list[tuple[StreamDays, int, int]] = []
    after = 0
    for days, until in zip(stretches, [*known, watch.last], strict=True):
        for end in days.ends_after(after):
            if end > until:
                break
            looked.append((days, after, end))
            after = end
    return tuple(
        _day(days, days.evidence(until=end), after, end, known.get(end))
        for days, after, end in looked[-PLOTTED_DAYS:]
    )


def _alarms(connection: sa.Connection, watch: StreamEvidence) -> list[Alarm]:
    """Of this stream and version, by number."""
    records = alarm_records.of_author(
        connection, watch.author, stream=watch.stream, version=watch.version, limit=ALARMS
    )
    return sorted((record.alarm for record in records), key=lambda alarm: alarm.number)


def _day(
    days: StreamDays, evidence: StreamEvidence, after: int, end: int, alarm: int | None
) -> EvidenceDay:
    mine = [one for one in days.sums if after < one.last <= end and one.version == evidence.version]
    count = sum(one.count for one in mine)
    held = [one for one in mine if one.prompt_class in evidence.held_to]
    bound = None
    if held:
        total = math.fsum(one.count * evidence.held_to[one.prompt_class] for one in held)
        bound = total / sum(one.count for one in held)
    mean = math.fsum(one.total for one in mine) / count
    return EvidenceDay(end, mean, bound, evidence.e_value, alarm)
