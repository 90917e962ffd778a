"""A small share of the readers for the anchor: who gets it, looked at once a day.

Belongs here: whether an author's votes allow it and which version is the anchor, as an entry of the
author's routing table.
Does not belong here: when the entry holds (`registry/policy.py`: no trial, no diverted class), the
draw (`gateway/routing/draw.py`), what both versions' scores say (`statistics/fall_estimates.py`).

Weights do not change by themselves, readers do. Where the best version that readers ever certified
is another than the stable one, some readers go on being answered by it, always the same ones: what
they say is a control at the same time. It costs them what the stable version is better by.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from twin_resources.quality.ledger.ledger_tables import settled
from twin_resources.quality.ledger.scores import DAY_MS, JUDGE
from twin_resources.quality.release.anchor import CertifiedBaseline, anchor_of
from twin_resources.quality.release.certified import certified_by, name_of
from twin_resources.registry.moves import ModelVersion, Move
from twin_resources.registry.policy import ANCHOR, may_be_anchor
from twin_resources.registry.registry import Registry

FEWEST_VOTES = 40.0  # a day on the anchor's answers: of fewer nothing is decided within days
DAYS = 14
MOST_AUTHORS = 5  # looked at in one tick: each writes the policy of all


def look(registry: Registry, *, share: float, now: float) -> dict[str, str]:
    """Bring the entries of the routing tables up to date, each author's once a day.

    Args:
        share: of the readers, in [0, .5]; 0: all entries go at once.
        now: seconds since the epoch.

    Returns:
        Author → what changed, in words.
    """
    today = int(now * 1000) // DAY_MS
    tables = registry.routing()
    said: dict[str, str] = {}
    looked = 0
    for author in registry.authors():
        entry: Mapping[str, Any] = tables.get(author, {}).get(ANCHOR) or {}
        if share == 0.0:
            if entry:
                registry.change_routing(author, _without_entry)
                said[author] = "no share of the readers for an anchor: TWIN_ANCHOR_SHARE is 0"
            continue
        if looked >= MOST_AUTHORS or (entry and entry["day"] == today and entry["set"] == share):
            continue
        versions = registry.versions(author)
        if not entry and not any(may_be_anchor(item) for item in versions):
            continue  # no version came before: nothing to keep
        looked += 1
        found, why = _found(registry, author, versions, share=share, today=today)
        stable = next((item for item in versions if item.state == "stable"), None)
        held = {
            "version": "" if found is None else name_of(found),
            "stable": "" if stable is None else name_of(stable.version),
            "share": 0.0 if found is None else share,
            "set": share,
            "day": today,
            "why": why,
        }
        registry.change_routing(author, lambda table, held=held: {**table, ANCHOR: held})
        if held["version"] != entry.get("version", ""):
            said[author] = f"anchor: {why}"
    return said


def why_none(
    anchor: int | None,
    versions: Sequence[ModelVersion],
    certified: Mapping[int, Mapping[str, CertifiedBaseline]],
    *,
    votes_a_day: float,
    share: float,
) -> str:
    """Why no reader is answered by the anchor; empty: some may be."""
    stable = next((item.version for item in versions if item.state == "stable"), None)
    if share * votes_a_day < FEWEST_VOTES:
        allowed = f"{FEWEST_VOTES / share:.0f} allow a share of {share:g}"
        return f"{votes_a_day:.0f} votes a day of the last {DAYS}, and {allowed}"
    if anchor is None or stable is None or anchor == stable:
        return "the stable version is the best that was certified"
    if not any(not stream.startswith(JUDGE) for stream in certified.get(anchor, {})):
        return f"{name_of(anchor)} was not certified by readers"
    if not any(item.version == anchor and may_be_anchor(item) for item in versions):
        return f"{name_of(anchor)} cannot be served"
    return ""


def _found(
    registry: Registry, author: str, versions: Sequence[ModelVersion], *, share: float, today: int
) -> tuple[int | None, str]:
    """The anchor that may answer, or None; and why."""
    history: Sequence[Move] = registry.moves(author)
    released = {item.version for item in versions if item.state in {"stable", "retired"}}
    with registry.state.reading() as connection:
        if not sa.inspect(connection).has_table(settled.name):
            return None, "no scores yet"
        votes = votes_a_day(connection, author, today=today)
        certified: dict[int, dict[str, CertifiedBaseline]] = {}
        if share * votes >= FEWEST_VOTES:
            before_ms = (today + 1) * DAY_MS
            certified = certified_by(connection, author, released, before_ms=before_ms)
    anchor = anchor_of(versions, history, certified)
    if why := why_none(anchor, versions, certified, votes_a_day=votes, share=share):
        return None, why
    assert anchor is not None
    return anchor, f"{name_of(anchor)} is the best that was certified, at {votes:.0f} votes a day"


def votes_a_day(connection: sa.Connection, author: str, *, today: int) -> float:
    """Settled values of readers a day, of the last 14 whole days.

    Args:
        today: days since the epoch, UTC.
    """
    count = connection.execute(
        sa.select(sa.func.count()).where(
            settled.c.author == author,
            settled.c.stream.not_like(f"{JUDGE}%"),
            settled.c.day >= today - DAYS,
            settled.c.day < today,
        )
    ).scalar()
    return int(count or 0) / DAYS


def _without_entry(table: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in table.items() if key != ANCHOR}
