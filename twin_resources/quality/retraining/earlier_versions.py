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
from twin_resources.quality.retraining.score_watch import history_until, name_of
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
    better: dict[int, float] = {
        version: min(found.held_to[name] for name in names)
        for version, found in _against_earlier(registry, alarm, rules).items()
        if found.e_value >= alarm.threshold and names <= {one.prompt_class for one in found.falls}
    }
    chosen = max(better, key=lambda version: (better[version], version), default=0)
    if not chosen or not names:
        return ""
    reason = (
        f"{run_key(alarm)}: {alarm.version} fell in {', '.join(sorted(names))} below what readers "
        f"said of v{chosen}"
    )
    try:
        registry.move(
            alarm.author,
            chosen,
            "stable",
            actor=ACTOR,
            reason=reason,
            against=int(alarm.version.removeprefix("v")),
        )
    except MoveRefused:  # another release came between: the next tick sees its version
        return ""
    return f"v{chosen}"


def _against_earlier(
    registry: Registry, alarm: Alarm, rules: LoopRules
) -> Mapping[int, StreamEvidence]:
    """Version that answered before and may again → evidence that the days of the fall are worse
    than its own; a tainted one may not, nor one that was released by force."""
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
        earlier.version: evidence_of(
            [
                *_just_before(fallen, [one for one in sums if one.version == name_of(earlier)]),
                *fallen,
            ],
            author=alarm.author,
            stream=alarm.stream,
            version=alarm.version,
            tolerance=rules.tolerance,
            fewest=rules.fewest,
        )
        for earlier in registry.versions(alarm.author)
        if earlier.state == "retired" and not earlier.tainted and not earlier.forced
    }


def _just_before(fallen: Sequence[DaySum], earlier: Sequence[DaySum]) -> list[DaySum]:
    """The days of another version as if the fall had followed them."""
    if not fallen or not earlier:
        return []
    moved = min(one.day for one in fallen) - 1 - max(one.day for one in earlier)
    return [replace(one, day=one.day + moved) for one in earlier]
