"""A stream's past as its detector saw it, for a plot: values, baseline, e-value, alarms.

Belongs here: folding it again from the ledger. Does not belong here: drawing
(`twin_assets/feedback`), the state that decides (`score_watch.py`).
"""
# pyright: strict

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import sqlalchemy as sa

from twin_resources.quality.retraining import alarm_records, daily_aggregates
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.quality.retraining.score_watch import armed_streams, watches_now
from twin_resources.statistics import watch as watching
from twin_resources.statistics.blocks import days_of
from twin_resources.statistics.detector import Alarm, Detector, threshold
from twin_resources.statistics.watch import DetectorStep, Watch

PLOTTED = 5_000
_MOST = 1_000_000  # values of a stream and version; what is older than these is not plotted


@dataclass(frozen=True)
class StreamHistory:
    """One stream of the stable version.

    Attributes:
        watch: as it stands.
        steps: of the newest values, at most 5,000, oldest first.
        threshold: C now; an alarm carries the one that it was raised with.
        alarms: all of this stream and version, by number.
    """

    watch: Watch
    steps: tuple[DetectorStep, ...]
    threshold: float
    alarms: tuple[Alarm, ...]


def histories_of(connection: sa.Connection, author: str, rules: LoopRules) -> list[StreamHistory]:
    """Every stream of the version that is followed, up to the last value that was folded."""
    armed = max(1, armed_streams(connection))
    limit = threshold(armed_streams=armed, horizon=rules.horizon, alpha=rules.alpha)
    return [
        StreamHistory(
            watch,
            _steps(connection, watch, rules),
            limit,
            tuple(alarm_records.of_stream(connection, author, watch.stream, watch.version)),
        )
        for watch in watches_now(connection).get(author, [])
    ]


def _steps(connection: sa.Connection, held: Watch, rules: LoopRules) -> tuple[DetectorStep, ...]:
    """Fold the stream again; alarms restart the detector where they are recorded."""
    watch = watching.start(
        author=held.author,
        stream=held.stream,
        version=held.version,
        floor=held.floor,
        certifies=held.certifies,
        after=held.after,
        tolerance=held.tolerance,
    )
    values = daily_aggregates.of_version(
        connection,
        held.author,
        version=held.version,
        stream=held.stream,
        after=held.after,
        until=held.detector.last_sequence,
        limit=_MOST,
        by_day=rules.by_day,
    )
    recorded = {
        alarm.sequence: alarm.number
        for alarm in alarm_records.of_stream(connection, held.author, held.stream, held.version)
    }
    steps_read: deque[DetectorStep] = deque(maxlen=PLOTTED)
    for piece in days_of(values):
        day = piece
        while day:
            end = next(
                (at + 1 for at, value in enumerate(day) if value.sequence in recorded), len(day)
            )
            due = len(watch.fleet)  # each certification again with the delta that it had
            fleet = held.fleet[due] if due < len(held.fleet) else 1
            watch, steps = watching.steps(
                watch, day[:end], first=values, batches=rules.batches, fleet=fleet
            )
            number = recorded.get(day[end - 1].sequence)
            if number is not None:
                steps[-1] = replace(steps[-1], alarm=number)
                restarted = Detector(last_sequence=day[end - 1].sequence, alarms=number)
                watch = replace(watch, detector=restarted)
            steps_read.extend(steps)
            day = day[end:]
    return tuple(steps_read)
