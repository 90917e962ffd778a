"""Versions that answered before: what their readers said, and going back to one of them.

Scope: comparing a fall with an earlier version's own days, the registry's move. Out of
scope: the comparison itself (`statistics/detector.py`), a person's `twin rollback`
(`twin_sensors/rolling_back.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from twin_resources.quality.retraining import daily_aggregates
from twin_resources.quality.retraining.retraining_rules import LoopRules
from twin_resources.quality.retraining.score_watch import history_until
from twin_resources.registry.checks import MoveRefused
from twin_resources.registry.registry import Registry
from twin_resources.statistics.detector import Alarm, DaySum, Fall, StreamEvidence, evidence_of
from twin_resources.statistics.retraining import run_key

ACTOR = "sensor quality_dropped"


def go_back(registry: Registry, alarm: Alarm, falls: Sequence[Fall], rules: LoopRules) -> str:
    """Make the earlier version that is surely better answer again.

    Surely: its own days against those of the fall would have raised the same alarm, and each class
    that fell is among what fell below it. A version that was left this way is rolled back and no
    longer one to go back to, so that two never take turns.

    Returns:
        Its name; empty: none is surely better, or another version answers by now.
    """
    names = {fall.prompt_class for fall in falls}
    better = {
        version: min(found.held_to[name] for name in names)
        for version, found in _against_earlier(registry, alarm, rules).items()
        if found.e_value >= alarm.threshold and names <= {one.prompt_class for one in found.falls}
    }
    chosen = max(better, key=lambda version: (better[version], version), default="")
    if not chosen or not names:
        return ""
    reason = (
        f"{run_key(alarm)}: {alarm.version} fell in {', '.join(sorted(names))} below what readers "
        f"said of {chosen}"
    )
    try:
        registry.move(
            alarm.author,
            number_of(chosen),
            "stable",
            actor=ACTOR,
            reason=reason,
            against=number_of(alarm.version),
        )
    except MoveRefused:  # another release came between: the next tick sees its version
        return ""
    return chosen


def _against_earlier(
    registry: Registry, alarm: Alarm, rules: LoopRules
) -> Mapping[str, StreamEvidence]:
    """Retired version → evidence that the days of the fall are worse than its own."""
    with registry.state.reading() as connection:
        sums = daily_aggregates.day_sums(
            connection,
            alarm.author,
            stream=alarm.stream,
            after=history_until(connection, alarm.author, alarm.stream),
            by_day=rules.by_day,
        )
    fallen = [
        one for one in sums if one.version == alarm.version
        if alarm.since <= one.first and one.last <= alarm.sequence
    ]  # fmt: skip
    return {
        version: evidence_of(
            [*_just_before(fallen, [one for one in sums if one.version == version]), *fallen],
            author=alarm.author,
            stream=alarm.stream,
            version=alarm.version,
            tolerance=rules.tolerance,
            fewest=rules.fewest,
        )
        for version in sorted(retired(registry, alarm.author))
    }


def _just_before(fallen: Sequence[DaySum], earlier: Sequence[DaySum]) -> list[DaySum]:
    """The days of another version as if the fall had followed them."""
    if not fallen or not earlier:
        return []
    moved = min(one.day for one in fallen) - 1 - max(one.day for one in earlier)
    return [replace(one, day=one.day + moved) for one in earlier]


def retired(registry: Registry, author: str) -> set[str]:
    """Versions that answered before and may again: not tainted, and not released by force."""
    return {
        f"v{version.version}"
        for version in registry.versions(author)
        if version.state == "retired" and not version.tainted and not version.forced
    }


def number_of(name: str) -> int:
    """3 of `v3`."""
    return int(name.removeprefix("v"))
