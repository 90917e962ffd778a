"""Streams through the production path: `watch.advance` a day at a time, `decide` at each alarm.

Belongs here: folding a stream that is given. Does not belong here: drawing one (`families.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from twin_resources.statistics.blocks import days_of
from twin_resources.statistics.detector import Alarm, threshold
from twin_resources.statistics.diagnosis import Fall, fallen_classes, since_the_drop
from twin_resources.statistics.poisoning import carried_by
from twin_resources.statistics.retraining import (
    AlarmContext,
    RetrainingDecision,
    TrainingFingerprint,
    decide,
)
from twin_resources.statistics.retraining_limits import RetrainingLimits, Usage
from twin_resources.statistics.values import SettledValue
from twin_resources.statistics.watch import Batches, Watch, advance, start

EVERYTHING = RetrainingLimits(
    automatic=True, cooldown_days=0.0, runs_a_month=None, hours_a_month=None
)


@dataclass(frozen=True)
class DecidedAlarm:
    """One alarm of a stream, what had fallen, and what would have followed."""

    alarm: Alarm
    falls: tuple[Fall, ...]
    decision: RetrainingDecision


@dataclass(frozen=True)
class Followed:
    """What became of a stream."""

    alarms: tuple[DecidedAlarm, ...]
    watch: Watch

    @property
    def trained(self) -> list[int]:
        """Sequence numbers of the alarms that would have started a retraining."""
        return [one.alarm.sequence for one in self.alarms if one.decision.kind == "train"]


def followed(
    ledger: Sequence[SettledValue],
    *,
    batches: Batches | None = None,
    fleet: int = 1,
    limit: float | None = None,
    only_first: bool = False,
) -> Followed:
    """Fold one stream of one version, a tick a day.

    Every training ends before the next tick, and there is always something new to learn, so that
    nothing holds a retraining back.

    Args:
        fleet: N armed streams, which share alpha and delta.
        limit: C; `detector.threshold(armed_streams=fleet)`.
        only_first: stop at the first alarm.
    """
    limit = threshold(armed_streams=fleet) if limit is None else limit
    one = ledger[0]
    watch = start(author=one.author, stream=one.stream, version=one.version)
    found: list[DecidedAlarm] = []
    for day in days_of(ledger):
        before = watch
        watch, alarm = advance(
            watch, day, first=ledger, threshold=limit, batches=batches, fleet=fleet
        )
        if alarm is not None:
            found.append(decided(alarm, before, ledger))
            if only_first:
                break
    return Followed(tuple(found), watch)


def decided(alarm: Alarm, watch: Watch, ledger: Sequence[SettledValue]) -> DecidedAlarm:
    """What `decide` makes of an alarm.

    Args:
        watch: as it stood before the day of the alarm.
        ledger: the whole stream; what came after the alarm is not looked at.
    """
    bounds = watch.baseline.bounds if watch.baseline is not None else {}
    context = alarm_context(alarm, bounds, ledger)
    return DecidedAlarm(alarm, tuple(context.falls), decide(context))


def alarm_context(
    alarm: Alarm, bounds: Mapping[str, float], ledger: Sequence[SettledValue]
) -> AlarmContext:
    """What an alarm's decision rests on where nothing else holds a training back."""
    since = [value for value in ledger if alarm.since <= value.sequence <= alarm.sequence]
    drop = since_the_drop(since, bounds)
    falls = fallen_classes(drop, bounds)
    earlier = [value for value in since if value.sequence < drop[0].sequence]
    readers = {value.sequence: value.reader for value in since if value.reader}
    is_votes = not alarm.stream.startswith("judge:")
    carried = carried_by(drop, readers, bounds, before=earlier) if is_votes else None
    return AlarmContext(
        author=alarm.author,
        version=alarm.version,
        streams=(),
        unreachable="",
        alarm=alarm,
        now_there_is=TrainingFingerprint(f"dataset {alarm.sequence}", "recipe"),
        stable_learnt=TrainingFingerprint("dataset", "recipe"),
        usage=Usage(),
        limits=EVERYTHING,
        now=0.0,
        alarmed_authors=1,
        falls=falls,
        carried=carried,
    )
