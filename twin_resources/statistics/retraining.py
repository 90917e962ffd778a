"""Decide what the sensor `quality_dropped` does about an alarm.

Scope: the decisions train, nothing to learn, rolled back (if an earlier version is surely better),
incident and held back.
Out of scope: reading ledger, registry and runs, starting runs, storing the decision.
Method: deploy/docs/architecture.md, The loop. `detector.py` raises the alarm.

The same facts give the same decision and the same run key, so that a repeated tick starts nothing
twice. A decision that settles an alarm *closes* it. An alarm that only has to wait (cooldown,
budget, automatic retraining off) stays open, and the next tick decides it again.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from twin_resources.statistics.baseline import arming
from twin_resources.statistics.detector import Alarm, Fall, StreamEvidence
from twin_resources.statistics.retraining_limits import (
    DAY,
    RetrainingLimits,
    Usage,
    date,
    held_back_by,
)

Kind = Literal["train", "nothing_to_learn", "rolled_back", "incident", "held_back"]

MIN_AUTHORS, SHARED_BY = 3, 0.1
TOGETHER_S = 2 * DAY
INCIDENT_DAYS = 14.0  # for which the alarms of an incident wait
ATTEMPTS = 3


@dataclass(frozen=True)
class TrainingFingerprint:
    """Hashes of the dataset and the recipe of a training."""

    dataset: str
    recipe: str


@dataclass(frozen=True)
class AlarmContext:
    """The facts for the decision on an alarm, for one author at one tick.

    Attributes:
        version: the stable version.
        alarm: the oldest open alarm.
        now_there_is: hashes of the dataset and recipe that a training would use now.
        learnt_before: the earlier training on `now_there_is` in words (`v4, parked, was trained on
            it`), whatever its outcome; empty if there was none.
        raised_at: when the alarm was raised, seconds since the epoch.
        alarmed_authors: authors with an alarm within two days of it, including this one.
        armed_authors: authors with an armed stream.
        falls: the classes that fell.
        few_readers: the result of `poisoning.not_seen_by_others`.
    """

    version: str
    alarm: Alarm
    now_there_is: TrainingFingerprint
    usage: Usage
    limits: RetrainingLimits
    now: float
    alarmed_authors: int = 0
    armed_authors: int = 1
    falls: Sequence[Fall] = ()
    few_readers: str = ""
    learnt_before: str = ""
    raised_at: float = 0.0


@dataclass(frozen=True)
class RetrainingDecision:
    """The decision of the sensor.

    Attributes:
        run_key: empty unless kind is `train`; always the same for the same alarm.
        tags: the evidence, for the run or the recorded alarm.
        message: the text that the tick reports.
        closes_alarm: whether the decision settles the alarm.
    """

    kind: Kind
    message: str
    run_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    closes_alarm: bool = False


def run_key(alarm: Alarm) -> str:
    """Return `quality:<author>:<version>:<stream>:<alarm number>`: one run per alarm."""
    return f"quality:{alarm.author}:{alarm.version}:{alarm.stream}:{alarm.number}"


def is_incident(alarmed_authors: int, armed_authors: int) -> bool:
    """Return whether at least three authors, and a tenth of them, had alarms within two days."""
    return alarmed_authors >= max(MIN_AUTHORS, math.ceil(SHARED_BY * armed_authors))


def decide(situation: AlarmContext) -> RetrainingDecision:
    """Return the decision of the first rule that applies.

    Rules that forbid a training come before rules that delay it. The module's docstring says which
    decisions leave the alarm open.
    """
    alarm = situation.alarm
    tags = evidence_tags(alarm, situation.falls)

    def without_training(
        kind: Kind, why: str, rule: str, *, closes_alarm: bool = True
    ) -> RetrainingDecision:
        return RetrainingDecision(
            kind,
            f"{alarm.words}; {why}",
            tags={**tags, "twin/decision": kind, "twin/decided_by": rule},
            closes_alarm=closes_alarm,
        )

    if alarm.version != situation.version:
        return without_training("held_back", f"{situation.version} answers now", "superseded")
    if situation.usage.in_flight:
        why = f"recorded with run {situation.usage.in_flight}, which is in flight"
        return without_training("held_back", why, "in_flight")
    until = situation.raised_at + INCIDENT_DAYS * DAY
    if situation.now < until and is_incident(situation.alarmed_authors, situation.armed_authors):
        why = (
            f"{situation.alarmed_authors} of {situation.armed_authors} authors within two "
            f"days: one incident (judge, base model or provider), waits until {date(until)}"
        )
        return without_training("incident", why, "shared_cause", closes_alarm=False)
    if situation.few_readers:
        why = f"{situation.few_readers}: a person looks, nothing is trained"
        return without_training("held_back", why, "few_readers")
    if situation.learnt_before:
        why = (
            f"nothing to learn from: {situation.learnt_before}, and the same dataset and recipe "
            "give the same weights"
        )
        return without_training("nothing_to_learn", why, "learnt_before")
    waits = held_back_by("quality", situation.usage, situation.limits, now=situation.now)
    if waits:
        return without_training("held_back", f"waits: {waits}", "limits", closes_alarm=False)
    return RetrainingDecision(
        "train",
        f"{alarm.words}; one retraining starts",
        run_key=run_key(alarm),
        tags={**tags, "twin/decision": "train"},
        closes_alarm=True,
    )


def rolled_back(decision: RetrainingDecision, *, to: str) -> RetrainingDecision:
    """Return the decision on an alarm with a roll-back to an earlier version in place of training.

    Args:
        to: the earlier version, `v2`.
    """
    reason = decision.message.removesuffix("; one retraining starts")
    return replace(
        decision,
        kind="rolled_back",
        run_key="",
        message=f"{reason}; rolled back to {to}, which readers liked better",
        tags={**decision.tags, "twin/decision": "rolled_back"},
    )


def evidence_tags(alarm: Alarm, falls: Sequence[Fall] = ()) -> dict[str, str]:
    """Return the evidence of an alarm as run tags, without any text of a reader."""
    tags = {
        "twin/cause": "quality",
        "twin/author": alarm.author,
        "twin/version": alarm.version,
        "twin/stream": alarm.stream,
        "twin/alarm": str(alarm.number),
        "twin/e_value": f"{alarm.e_value:.6g}",
        "twin/threshold": f"{alarm.threshold:.6g}",
        "twin/values": str(alarm.bets),
        "twin/from_sequence": str(alarm.since),
        "twin/to_sequence": str(alarm.sequence),
    }
    if falls:
        tags["twin/fallen_classes"] = ", ".join(
            f"{fall.prompt_class} {fall.mean:.2f} < {fall.baseline:.2f} ({fall.values})"
            for fall in falls
        )
    return tags


def progress(watch: StreamEvidence, *, needed: int, per_day: float | None, threshold: float) -> str:
    """Describe a stream without an alarm: `thumbs: likelihood ratio 12 of 130`.

    Args:
        needed: values that a stream needs before a fall can be detected.
        per_day: recent settled values a day, or None if unknown.
        threshold: C·N.
    """
    if not watch.armed:
        message = arming(watch.seen, needed, per_day=per_day, days=watch.days)
        return f"{watch.stream}: {message}"
    return f"{watch.stream}: likelihood ratio {watch.e_value:,.0f} of {threshold:,.0f}"
