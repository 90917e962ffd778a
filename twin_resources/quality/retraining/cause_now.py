"""Who is asked, before a training, whether answers fell or readers changed, and who is waited for.

Belongs here: judges' stored scores, a control of theirs, the anchor's readers; in which order.
Does not belong here: reading their scores (`fall_causes.py`, `fall_controls.py`), what the numbers
mean (`statistics/fall_estimates.py`), what follows (`statistics/retraining.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from twin_resources.quality.retraining import fall_controls, score_watch
from twin_resources.quality.retraining.alarm_records import AlarmRecord
from twin_resources.quality.retraining.fall_causes import (
    DropStart,
    anchor_word,
    fall_cause,
    is_of_readers,
    may_be_asked,
)
from twin_resources.quality.retraining.fall_controls import FallControl
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.statistics.detector import Alarm
from twin_resources.statistics.fall_estimates import FallCause, agreed
from twin_resources.statistics.retraining import ANCHOR_READERS, JUDGES
from twin_resources.statistics.values import SettledValue


@dataclass(frozen=True)
class CauseNow:
    """Who changed, as far as it is known now.

    Attributes:
        cause: None: it is not asked, or nobody could say.
        until: how long more is waited for that may say it, in words; empty: nothing is.
        waits_for: who will say it.
        control: of judges, where their stored scores leave it open.
    """

    cause: FallCause | None = None
    until: str = ""
    waits_for: str = JUDGES
    control: FallControl | None = None


def cause_now(
    connection: sa.Connection,
    record: AlarmRecord,
    began: SettledValue,
    *,
    classes: frozenset[str],
    rules: LoopRules,
    sensitivities: Mapping[str, float],
    anchor: str,
    share: float,
    now: float,
) -> CauseNow:
    """Ask judges and the anchor's readers; against each other they decide nothing.

    Args:
        began: the first value of the drop. classes: that fell.
        sensitivities: judge's identity → D, of those that may decide; none: there are none.
        anchor: name of the version that answers a `share` of the readers; empty: none does.
        now: seconds since the epoch.
    """
    alarm = record.alarm
    drop = DropStart(
        began,
        score_watch.history_until(connection, alarm.author, alarm.stream),
        by_day=rules.by_day,
        classes=classes,
    )
    judged = _judged(connection, alarm, drop, sensitivities, rules=rules, now=now)
    # A home that settles at once has no days on which both were asked.
    if not anchor or not is_of_readers(alarm) or not rules.by_day or began.day is None:
        return judged
    word = anchor_word(
        connection,
        alarm,
        drop,
        anchor=anchor,
        share=share,
        tolerance=rules.tolerance_of(alarm.author),
        raised_at=record.raised_at,
        now=now,
    )
    cause = word.cause if judged.cause is None else agreed(judged.cause, word.cause)
    if cause.name != "undecided":
        return CauseNow(cause)
    if judged.until:  # judges come within hours
        return replace(judged, cause=cause)
    return CauseNow(cause, word.until, ANCHOR_READERS)


def _judged(
    connection: sa.Connection,
    alarm: Alarm,
    drop: DropStart,
    sensitivities: Mapping[str, float],
    *,
    rules: LoopRules,
    now: float,
) -> CauseNow:
    """What judges say, and the control that is waited for."""
    if not may_be_asked(alarm, sensitivities):
        return CauseNow()
    control = fall_controls.of_alarm(
        connection, alarm.author, alarm.stream, alarm.version, alarm.number
    )
    cause = fall_cause(
        connection,
        alarm,
        drop,
        sensitivities,
        tolerance=rules.tolerance_of(alarm.author),
        anew={} if control is None else fall_controls.scores_of(connection, control),
    )
    # A home that settles at once has no days that more answers could be of.
    if cause.name != "undecided" or not rules.by_day or drop.first.day is None:
        return CauseNow(cause)
    control = control or fall_controls.asked_now(alarm, first_day=drop.first.day, at=now)
    return CauseNow(cause, control.until if control.waits(now) else "", control=control)
