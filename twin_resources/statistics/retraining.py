"""Decide how the sensor `quality_dropped` responds to an alarm.

Scope: the decisions train, nothing to learn, rolled back (if an earlier version is provably
better), incident and held back.
Out of scope: reading ledger, registry and runs, starting runs, and storing the decision.
Method: deploy/docs/architecture.md, The loop. `detector.py` raises the alarm.

The same facts give the same decision and the same run key, so a repeated tick starts no
second run. A decision that settles an alarm *closes* it. An alarm that only has to wait (cooldown,
budget, automatic retraining off) stays open, and the next tick decides it again.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from twin_resources.statistics.detector import Alarm, Fall, StreamEvidence
from twin_resources.statistics.retraining_limits import (
    DAY_S,
    RetrainingLimits,
    TrainingUsage,
    find_blocking_limit,
    format_date,
)
from twin_resources.statistics.warm_up import describe_warm_up

DecisionKind = Literal["train", "nothing_to_learn", "rolled_back", "incident", "held_back"]

MIN_INCIDENT_AUTHORS, MIN_INCIDENT_SHARE = 3, 0.1
INCIDENT_WINDOW_S = 2 * DAY_S
INCIDENT_DAYS = 14.0  # the maximum wait of an incident's alarms
MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class TrainingFingerprint:
    """Hashes of the dataset and the recipe of a training run."""

    dataset: str
    recipe: str


@dataclass(frozen=True)
class AlarmContext:
    """The facts for the decision on an alarm, for one author at one tick.

    Attributes:
        version: the stable version.
        alarm: the oldest open alarm.
        training_fingerprint: the hashes of the dataset and the recipe that a training run would use
            now.
        earlier_training: the earlier training run on `training_fingerprint` in words (`v4, parked,
            was trained on it`), regardless of its outcome; empty if there is none.
        raised_at: the time of the alarm, in seconds since the epoch.
        alarmed_authors: the number of authors with an alarm within two days of that time,
            including this author.
        armed_authors: the number of authors with an armed stream.
        falls: the classes that fell.
        few_readers_reason: the result of `vote_limits.unconfirmed_fall_reason`.
    """

    version: str
    alarm: Alarm
    training_fingerprint: TrainingFingerprint
    usage: TrainingUsage
    limits: RetrainingLimits
    now: float
    alarmed_authors: int = 0
    armed_authors: int = 1
    falls: Sequence[Fall] = ()
    few_readers_reason: str = ""
    earlier_training: str = ""
    raised_at: float = 0.0


@dataclass(frozen=True)
class RetrainingDecision:
    """The decision of the sensor.

    Attributes:
        run_key: empty unless the kind is `train`; the same for every decision on an alarm.
        tags: the evidence, for the run or the recorded alarm.
        message: the text that the tick reports.
        closes_alarm: whether the decision settles the alarm.
    """

    kind: DecisionKind
    message: str
    run_key: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    closes_alarm: bool = False


def build_run_key(alarm: Alarm) -> str:
    """Return `quality:<author>:<version>:<stream>:<alarm number>`: one run per alarm."""
    return f"quality:{alarm.author}:{alarm.version}:{alarm.stream}:{alarm.number}"


def is_incident(alarmed_authors: int, armed_authors: int) -> bool:
    """Return whether at least three authors, and at least a tenth, had alarms within two days."""
    return alarmed_authors >= max(
        MIN_INCIDENT_AUTHORS, math.ceil(MIN_INCIDENT_SHARE * armed_authors)
    )


def decide_on_alarm(context: AlarmContext) -> RetrainingDecision:
    """Return the decision of the first rule that applies.

    Rules that forbid training come before rules that delay it. The module's docstring lists the
    decisions that leave the alarm open.
    """
    alarm = context.alarm
    tags = evidence_tags(alarm, context.falls)

    def decide_without_training(
        kind: DecisionKind, reason: str, rule: str, *, closes_alarm: bool = True
    ) -> RetrainingDecision:
        return RetrainingDecision(
            kind,
            f"{alarm.description}; {reason}",
            tags={**tags, "twin/decision": kind, "twin/decided_by": rule},
            closes_alarm=closes_alarm,
        )

    if alarm.version != context.version:
        return decide_without_training("held_back", f"{context.version} answers now", "superseded")
    if context.usage.in_flight_run_id:
        reason = f"recorded with run {context.usage.in_flight_run_id}, which is in flight"
        return decide_without_training("held_back", reason, "in_flight")
    end = context.raised_at + INCIDENT_DAYS * DAY_S
    if context.now < end and is_incident(context.alarmed_authors, context.armed_authors):
        reason = (
            f"{context.alarmed_authors} of {context.armed_authors} authors within two "
            f"days: one incident (judge, base model or provider), waits until {format_date(end)}"
        )
        return decide_without_training("incident", reason, "shared_cause", closes_alarm=False)
    if context.few_readers_reason:
        reason = f"{context.few_readers_reason}; a person must check it, and nothing is trained"
        return decide_without_training("held_back", reason, "few_readers")
    if context.earlier_training:
        reason = (
            f"nothing to learn from: {context.earlier_training}, and the same dataset and recipe "
            "give the same weights"
        )
        return decide_without_training("nothing_to_learn", reason, "learnt_before")
    blocking_limit = find_blocking_limit("quality", context.usage, context.limits, now=context.now)
    if blocking_limit:
        return decide_without_training(
            "held_back", f"waits: {blocking_limit}", "limits", closes_alarm=False
        )
    return RetrainingDecision(
        "train",
        f"{alarm.description}; one retraining starts",
        run_key=build_run_key(alarm),
        tags={**tags, "twin/decision": "train"},
        closes_alarm=True,
    )


def replace_with_rollback(decision: RetrainingDecision, *, version: str) -> RetrainingDecision:
    """Replace training with a rollback to an earlier version in the decision on an alarm.

    Args:
        version: the earlier version, such as `v2`.
    """
    reason = decision.message.removesuffix("; one retraining starts")
    return replace(
        decision,
        kind="rolled_back",
        run_key="",
        message=f"{reason}; rolled back to {version}, which had better scores",
        tags={**decision.tags, "twin/decision": "rolled_back"},
    )


def evidence_tags(alarm: Alarm, falls: Sequence[Fall] = ()) -> dict[str, str]:
    """Return the evidence of an alarm as run tags, without any reader's text."""
    tags = {
        "twin/cause": "quality",
        "twin/author": alarm.author,
        "twin/version": alarm.version,
        "twin/stream": alarm.stream,
        "twin/alarm": str(alarm.number),
        "twin/e_value": f"{alarm.likelihood_ratio:.6g}",
        "twin/threshold": f"{alarm.threshold:.6g}",
        "twin/values": str(alarm.values_since_fall),
        "twin/from_sequence": str(alarm.since),
        "twin/to_sequence": str(alarm.sequence),
    }
    if falls:
        tags["twin/fallen_classes"] = ", ".join(
            f"{fall.prompt_class} {fall.mean:.2f} < {fall.floor:.2f} ({fall.recent_count})"
            for fall in falls
        )
    return tags


def describe_progress(
    evidence: StreamEvidence, *, required_values: int, per_day: float | None, threshold: float
) -> str:
    """Describe a stream without an alarm: `thumbs: likelihood ratio 12 (threshold 180)`.

    Args:
        required_values: the number of values that a stream needs before a fall can be detected.
        per_day: the recent number of settled values per day, or None if unknown.
        threshold: C·N.
    """
    if not evidence.is_armed:
        message = describe_warm_up(
            evidence.value_count, required_values, per_day=per_day, days=evidence.days
        )
        return f"{evidence.stream}: {message}"
    ratio = f"likelihood ratio {evidence.likelihood_ratio:,.0f} (threshold {threshold:,.0f})"
    return f"{evidence.stream}: {ratio}"
