"""A stream's past as its detector saw it, for a plot: values, baseline, e-value, alarms.

Belongs here: folding it again from the ledger. Does not belong here: drawing
(`twin_assets/feedback`), the state that decides (`score_watch.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass, replace

import sqlalchemy as sa

from twin_resources.quality.retraining import alarm_records, settled_values
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.quality.retraining.score_watch import armed_streams, watches_now
from twin_resources.statistics import watch as watching
from twin_resources.statistics.detector import Alarm, Detector, threshold
from twin_resources.statistics.watch import DetectorStep, Watch

PLOTTED = 5_000
_PIECE = 10_000


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


def histories_of(
    connection: sa.Connection, author: str, rules: LoopRules, *, newest: int = PLOTTED
) -> list[StreamHistory]:
    """Every stream of the version that is followed, up to the last value that was folded."""
    armed = max(1, armed_streams(connection))
    limit = threshold(armed_streams=armed, horizon=rules.horizon, alpha=rules.alpha)
    return [
        StreamHistory(
            watch,
            _steps(connection, watch, rules, newest=newest),
            limit,
            tuple(alarm_records.of_stream(connection, author, watch.stream, watch.version)),
        )
        for watch in watches_now(connection).get(author, [])
    ]


def _steps(
    connection: sa.Connection, held: Watch, rules: LoopRules, *, newest: int
) -> tuple[DetectorStep, ...]:
    """Fold the stream again; alarms restart the detector where they are recorded."""
    batches = rules.batches
    watch = watching.start(
        author=held.author,
        stream=held.stream,
        version=held.version,
        floor=held.floor,
        certifies=held.certifies,
    )
    first = settled_values.of_version(
        connection,
        held.author,
        version=held.version,
        stream=held.stream,
        limit=batches.second,
    )
    recorded = {
        alarm.sequence: alarm.number
        for alarm in alarm_records.of_stream(connection, held.author, held.stream, held.version)
    }
    steps_read: list[DetectorStep] = []
    until = held.detector.last_sequence
    while True:
        after = watch.detector.last_sequence
        values = settled_values.of_version(
            connection,
            held.author,
            version=held.version,
            stream=held.stream,
            after=after,
            until=until,
            limit=_PIECE,
        )
        if not values:
            return tuple(steps_read[-newest:])
        begin = 0
        while begin < len(values):
            end = next(
                (
                    index + 1
                    for index in range(begin, len(values))
                    if values[index].sequence in recorded
                ),
                len(values),
            )
            piece = values[begin:end]
            steps = watching.steps(
                watch, piece, first=first, threshold=float("inf"), batches=batches
            )
            watch, _ = watching.advance(
                watch, piece, first=first, threshold=float("inf"), batches=batches
            )
            number = recorded.get(piece[-1].sequence)
            if number is not None:
                steps[-1] = replace(steps[-1], alarm=number)
                restarted = Detector(last_sequence=piece[-1].sequence, alarms=number)
                watch = replace(watch, detector=restarted)
            steps_read = [*steps_read, *steps][-newest:]
            begin = end
