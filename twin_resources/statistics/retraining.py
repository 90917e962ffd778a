"""The decision of the sensor `quality_dropped`, as a function of what it has read.

Scope: from an alarm to train, nothing to learn (or rolled back, where an earlier version is
surely better), incident or held back.
Out of scope: reading ledger, registry and runs, starting runs, storing the state.
Method: deploy/docs/architecture.md, The loop. The alarm itself: `detector.py`.

The same facts give the same decision and the same run key, so that a repeated tick starts nothing
twice. An alarm is *closed* by a decision that settles it; one that only has to wait (cooldown,
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
    PRIORITY,
    RetrainingLimits,
    Usage,
    date,
    held_back_by,
)

Kind = Literal["train", "nothing_to_learn", "rolled_back", "incident", "held_back"]

MIN_AUTHORS, SHARED_BY = 3, 0.1
TOGETHER_S = 2 * DAY
INCIDENT_DAYS = 14.0  # that the alarms of an incident wait
ATTEMPTS = 3


@dataclass(frozen=True)
class TrainingFingerprint:
    """What a training used: hashes of dataset and recipe."""

    dataset: str
    recipe: str


@dataclass(frozen=True)
class AlarmContext:
    """All that the decision on an alarm rests on, for one author at one tick.

    Attributes:
        version: now stable.
        alarm: the oldest one that is still open.
        now_there_is: hashes of dataset and recipe as a training would use them now.
        learnt_before: who was trained on `now_there_is` already, in words (`v4, parked, was trained
            on it`), whatever became of it; empty: nobody was.
        raised_at: when the alarm was, seconds since the epoch.
        alarmed_authors: authors with an alarm within two days of it, this one included.
        armed_authors: authors with an armed stream.
        falls: classes that fell.
        few_readers: of `poisoning.not_seen_by_others`.
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
    """What the sensor does.

    Attributes:
        run_key: empty unless kind is `train`; the same for the same alarm, always.
        tags: evidence, on the run or with the recorded alarm.
        message: the tick's own words.
        closes_alarm: whether the alarm is settled by it.
    """

    kind: Kind
    message: str
    run_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    closes_alarm: bool = False


def run_key(alarm: Alarm) -> str:
    """`quality:<author>:<version>:<stream>:<alarm number>`: one run an alarm."""
    return f"quality:{alarm.author}:{alarm.version}:{alarm.stream}:{alarm.number}"


def is_incident(alarmed_authors: int, armed_authors: int) -> bool:
    """Whether alarms within two days share a cause: of at least three authors, and of a tenth."""
    return alarmed_authors >= max(MIN_AUTHORS, math.ceil(SHARED_BY * armed_authors))


def decide(situation: AlarmContext) -> RetrainingDecision:
    """The first rule that applies; what forbids comes before what waits. See the module for what
    stays open."""
    alarm = situation.alarm
    tags = evidence_tags(alarm, situation.falls)
    message = alarm.words

    def closed(kind: Kind, why: str, cause: str) -> RetrainingDecision:
        return RetrainingDecision(
            kind,
            f"{message}; {why}",
            tags={**tags, "twin/decision": kind, "twin/decided_by": cause},
            closes_alarm=True,
        )

    if alarm.version != situation.version:
        return closed("held_back", f"{situation.version} answers now", "superseded")
    if situation.usage.in_flight:
        why = f"recorded with run {situation.usage.in_flight}, which is in flight"
        return closed("held_back", why, "in_flight")
    if is_incident(situation.alarmed_authors, situation.armed_authors):
        until = situation.raised_at + INCIDENT_DAYS * DAY
        if situation.now < until:
            why = (
                f"{situation.alarmed_authors} of {situation.armed_authors} authors within two "
                f"days: one incident (judge, base model or provider), waits until {date(until)}"
            )
            tags |= {"twin/decision": "incident", "twin/decided_by": "shared_cause"}
            return RetrainingDecision("incident", f"{message}; {why}", tags=tags)
    if situation.few_readers:
        why = f"{situation.few_readers}: a person looks, nothing is trained"
        return closed("held_back", why, "few_readers")
    if situation.learnt_before:
        why = (
            f"nothing to learn from: {situation.learnt_before}, and the same dataset and recipe "
            "give the same weights"
        )
        return closed("nothing_to_learn", why, "learnt_before")
    waits = held_back_by("quality", situation.usage, situation.limits, now=situation.now)
    if waits:
        tags |= {"twin/decision": "held_back", "twin/decided_by": "limits"}
        return RetrainingDecision("held_back", f"{message}; waits: {waits}", tags=tags)
    return RetrainingDecision(
        "train",
        f"{message}; one retraining starts",
        run_key=run_key(alarm),
        tags={**tags, "twin/decision": "train", "dagster/priority": str(PRIORITY["quality"])},
        closes_alarm=True,
    )


def rolled_back(decision: RetrainingDecision, *, to: str) -> RetrainingDecision:
    """The decision on an alarm, when an earlier version answers again instead.

    Args:
        to: that version, `v2`.
    """
    found = decision.message.removesuffix("; one retraining starts")
    return replace(
        decision,
        kind="rolled_back",
        run_key="",
        message=f"{found}; rolled back to {to}, which readers liked better",
        tags={**decision.tags, "twin/decision": "rolled_back"},
    )


def evidence_tags(alarm: Alarm, falls: Sequence[Fall] = ()) -> dict[str, str]:
    """The evidence of an alarm as run tags; no text of a reader is among them."""
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
    """One stream in the words of a quiet tick: `thumbs: likelihood ratio 12 of 130`.

    Args:
        needed: values that a stream needs before a fall can be seen.
        per_day: settled values a day, lately; None: unknown.
        threshold: C·N.
    """
    if not watch.armed:
        told = arming(watch.seen, needed, per_day=per_day, days=watch.days)
        return f"{watch.stream}: {told}"
    return f"{watch.stream}: likelihood ratio {watch.e_value:,.0f} of {threshold:,.0f}"
