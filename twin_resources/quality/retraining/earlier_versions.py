"""Compare a fall with the values of earlier versions, and roll back to a better one.

Scope: comparing a fall with an earlier version's own days, the registry's move.
Out of scope: the statistics (`statistics/detector.py`), a person's `twin rollback`
(`twin_sensors/rollback_job.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.quality.retraining.score_watch import sum_days_since_floor, version_name
from twin_resources.registry.move_checks import MoveRefusedError
from twin_resources.registry.registry import Registry
from twin_resources.statistics.detector import Alarm, DaySum, Fall, StreamEvidence, compute_evidence
from twin_resources.statistics.retraining import build_run_key

ACTOR = "sensor quality_dropped"


def roll_back_if_better(
    registry: Registry, alarm: Alarm, falls: Sequence[Fall], rules: LoopRules
) -> str:
    """Roll back to an earlier version that is provably better.

    An earlier version is provably better under two conditions. The days of the fall, compared with
    that version's own days, would have raised the same alarm. Each class that fell is also below
    that version. The version that fell is rolled back. It cannot be the target of a later
    rollback, so two versions never alternate.

    Returns:
        The version's name, or an empty string if none is better or another version now answers.
    """
    fallen_classes = {fall.prompt_class for fall in falls}
    baseline_by_version: dict[int, float] = {
        version: min(evidence.floors[prompt_class] for prompt_class in fallen_classes)
        for version, evidence in _compare_with_earlier(registry, alarm, rules).items()
        if evidence.likelihood_ratio >= alarm.threshold
        and fallen_classes <= {fall.prompt_class for fall in evidence.falls}
    }
    best_version = max(
        baseline_by_version, key=lambda version: (baseline_by_version[version], version), default=0
    )
    if not best_version or not fallen_classes:
        return ""
    reason = (
        f"{build_run_key(alarm)}: the scores of {alarm.version} fell below those of "
        f"v{best_version} in the classes {', '.join(sorted(fallen_classes))}"
    )
    try:
        registry.move(
            alarm.author,
            best_version,
            "stable",
            actor=ACTOR,
            reason=reason,
            incumbent=int(alarm.version.removeprefix("v")),
        )
    except MoveRefusedError:  # another release came first; the next tick checks its version
        return ""
    return f"v{best_version}"


def _compare_with_earlier(
    registry: Registry, alarm: Alarm, rules: LoopRules
) -> Mapping[int, StreamEvidence]:
    """Return each earlier version with the evidence that the days of the fall are worse.

    Tainted versions, and versions released by force, are excluded.
    """
    with registry.state.read_transaction() as connection:
        sums = sum_days_since_floor(connection, alarm.author, alarm.stream, rules)
    fall_sums = [
        row for row in sums if row.version == alarm.version
        if alarm.since <= row.first and row.last <= alarm.sequence
    ]  # fmt: skip
    return {
        earlier_version.version: compute_evidence(
            [
                *_shift_before_fall(
                    fall_sums, [row for row in sums if row.version == version_name(earlier_version)]
                ),
                *fall_sums,
            ],
            author=alarm.author,
            stream=alarm.stream,
            version=alarm.version,
            tolerance=rules.tolerance,
            min_values=rules.min_values,
        )
        for earlier_version in registry.versions(alarm.author)
        if earlier_version.state == "retired"
        and not earlier_version.tainted
        and not earlier_version.forced
    }


def _shift_before_fall(fall_sums: Sequence[DaySum], earlier_sums: Sequence[DaySum]) -> list[DaySum]:
    """Shift the days of another version so that they end the day before the fall."""
    if not fall_sums or not earlier_sums:
        return []
    shift = min(row.day for row in fall_sums) - 1 - max(row.day for row in earlier_sums)
    return [replace(row, day=row.day + shift) for row in earlier_sums]
