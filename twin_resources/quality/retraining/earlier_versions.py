"""Versions that answered before: what they were certified for, and going back to one of them.

Belongs here: reading their bounds, the registry's move. Does not belong here: which one is surely
better (`statistics/version_choice.py`), routing single classes (`rerouting.py`), a person's
`twin rollback` (`twin_sensors/rolling_back.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from twin_resources.quality.retraining import daily_aggregates
from twin_resources.registry.checks import MoveRefused
from twin_resources.registry.registry import Registry
from twin_resources.statistics.detector import Alarm
from twin_resources.statistics.retraining import run_key
from twin_resources.statistics.version_choice import better_version
from twin_resources.statistics.watch import Watch
from twin_resources.storage.state.state_tables import watches

ACTOR = "sensor quality_dropped"
MOST_VALUES = 20_000


def go_back(registry: Registry, alarm: Alarm, fallen: Sequence[str], *, by_day: bool = True) -> str:
    """Make the earlier version that is surely better answer again.

    A version that was left this way is rolled back and no longer one to go back to, so that two
    never take turns.

    Args:
        fallen: classes that fell.
        by_day: of `LoopRules`.

    Returns:
        Its name; empty: none is surely better, or another version answers by now.
    """
    watch = _watch_of(registry, alarm)
    if watch is None or watch.baseline is None:
        return ""
    certified = {
        name: bounds
        for name, bounds in certified_bounds(registry, alarm.author, alarm.stream).items()
        if name in retired(registry, alarm.author)
    }
    if not certified:
        return ""
    with registry.state.reading() as connection:
        values = daily_aggregates.of_version(
            connection,
            alarm.author,
            version=alarm.version,
            stream=alarm.stream,
            after=alarm.since - 1,
            until=alarm.sequence,
            limit=MOST_VALUES,
            newest=True,
            by_day=by_day,
        )
    chosen = better_version(
        certified,
        values,
        fallen,
        own=watch.baseline.certified,
        tolerance=watch.tolerance,
        threshold=alarm.threshold,
        blocks=watch.baseline.blocks,
    )
    if not chosen:
        return ""
    reason = (
        f"{run_key(alarm)}: {alarm.version} fell in {', '.join(fallen)}, and what {chosen} was "
        "certified for is above it"
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


def certified_bounds(
    registry: Registry, author: str, stream: str
) -> dict[str, Mapping[str, float]]:
    """Version → prompt class → lower bound of the mean of its own values in one stream."""
    of_stream = (watches.c.author == author) & (watches.c.stream == stream)
    with registry.state.reading() as connection:
        texts = connection.execute(sa.select(watches.c.watch).where(of_stream)).scalars().all()
    held = [Watch.from_json(text) for text in texts]
    return {one.version: one.baseline.certified for one in held if one.baseline is not None}


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


def _watch_of(registry: Registry, alarm: Alarm) -> Watch | None:
    mine = (
        (watches.c.author == alarm.author)
        & (watches.c.stream == alarm.stream)
        & (watches.c.version == alarm.version)
    )
    with registry.state.reading() as connection:
        text = connection.execute(sa.select(watches.c.watch).where(mine)).scalar()
    return None if text is None else Watch.from_json(text)
