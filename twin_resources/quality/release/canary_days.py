"""What the ledger holds for a canary: its readers' days as pairs, and how fast they come.

Belongs here: settled thumbs of candidate, incumbent and anchor, read for one trial.
Does not belong here: settling them (`ledger/`), betting on them (`statistics/promotion.py`).

The anchor answers nobody during a canary, so its readers' record stands in for it: d is the canary
value minus an upper confidence bound (95 %) of the mean that the anchor once had in that class. The
bound makes the promise hold at the price of some more pairs.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.quality.ledger.settling import STREAM_OF_VOTES
from twin_resources.quality.release.certified import name_of
from twin_resources.quality.release.release_mode import canary_pairs
from twin_resources.quality.release.trial_rows import StoredTrial
from twin_resources.statistics.baseline import FEWEST
from twin_resources.statistics.bounds import lower_bound
from twin_resources.statistics.promotion import PairedDifference
from twin_resources.statistics.values import SettledValue
from twin_resources.storage.state.state import State

CLAIM = "thumbs"
RATE_DAYS = 28
_DELTA = 0.05
_MOST_OF_ANCHOR = 2_000


@dataclass(frozen=True)
class CanaryDays:
    """What a canary has brought so far.

    Attributes:
        pairs: in order, from its first value on; those already used are known by their sequence.
        readers: distinct readers of the candidate.
    """

    pairs: tuple[PairedDifference, ...]
    readers: int


@dataclass(frozen=True)
class ScoreRate:
    """Thumbs of an author in the last four weeks: reader-days a day, and distinct readers."""

    per_day: float
    readers: int


def last_sequence(state: State, author: str) -> int:
    """The last number given out to this author; 0: none."""
    ledger_tables.open_tables(state)
    table = ledger_tables.sequences
    with state.reading() as connection:
        sequence = connection.execute(sa.select(table.c.last).where(table.c.author == author))
        return int(sequence.scalar() or 0)


def days_of(state: State, trial: StoredTrial) -> CanaryDays:
    """The pairs that a canary's trial rests on, all from its beginning."""
    ledger_tables.open_tables(state)
    on, table = trial.on, ledger_tables.settled
    candidate, incumbent = name_of(on.version), name_of(on.incumbent)
    of_trial = (
        table.c.author == on.author,
        table.c.stream == STREAM_OF_VOTES,
        table.c.sequence > trial.after_sequence,
    )
    with state.reading() as connection:
        rows = connection.execute(
            _values(table)
            .where(*of_trial, table.c.version.in_([candidate, incumbent]))
            .order_by(table.c.sequence)
        )
        values = [SettledValue(*row) for row in rows]
        readers = connection.execute(
            sa.select(sa.func.count(sa.distinct(table.c.unit))).where(
                *of_trial, table.c.version == candidate
            )
        ).scalar_one()
    pairs = canary_pairs(values, candidate=candidate, incumbent=incumbent, claim=CLAIM)
    if on.anchor is None:
        return CanaryDays(tuple(pairs), int(readers))
    held = _anchor_bounds(state, on.author, on.anchor)
    return CanaryDays(tuple(_against_anchor(pairs, values, held)), int(readers))


def score_rate(state: State, author: str, *, now: float) -> ScoreRate:
    """How often readers score this author's answers.

    Args:
        now: seconds since the epoch.
    """
    ledger_tables.open_tables(state)
    table = ledger_tables.settled
    today = int(now * 1000) // DAY_MS
    with state.reading() as connection:
        row = connection.execute(
            sa.select(
                sa.func.count(),
                sa.func.count(sa.distinct(table.c.unit)),
                sa.func.min(table.c.day),
            ).where(
                table.c.author == author,
                table.c.stream == STREAM_OF_VOTES,
                table.c.day >= today - RATE_DAYS,
            )
        ).one()
    values, readers, first = int(row[0]), int(row[1]), row[2]
    days = max(1, today - int(first) + 1) if values else RATE_DAYS
    return ScoreRate(values / days, readers)


def _values(table: sa.Table) -> sa.Select[Any, Any, Any, Any, Any, Any]:
    return sa.select(
        table.c.sequence,
        table.c.author,
        table.c.stream,
        table.c.version,
        table.c.prompt_class,
        table.c.value,
    )


def _anchor_bounds(state: State, author: str, anchor: int) -> dict[str, float]:
    """Prompt class → upper bound of the anchor's mean, from its first values of that class."""
    table = ledger_tables.settled
    with state.reading() as connection:
        rows = connection.execute(
            _values(table)
            .where(
                table.c.author == author,
                table.c.stream == STREAM_OF_VOTES,
                table.c.version == name_of(anchor),
            )
            .order_by(table.c.sequence)
            .limit(_MOST_OF_ANCHOR)
        )
        by_class: dict[str, list[float]] = {}
        for row in rows:
            value = SettledValue(*row)
            by_class.setdefault(value.prompt_class, []).append(value.value)
    enough = {name: values for name, values in by_class.items() if len(values) >= FEWEST}
    return {
        name: 1.0 - lower_bound([1.0 - value for value in values], delta=_DELTA / len(enough))
        for name, values in enough.items()
    }


def _against_anchor(
    pairs: Sequence[PairedDifference], values: Sequence[SettledValue], held: Mapping[str, float]
) -> list[PairedDifference]:
    by_sequence = {value.sequence: value for value in values}
    return [
        replace(pair, anchor={CLAIM: value.value - held[value.prompt_class]})
        for pair in pairs
        if (value := by_sequence[pair.sequence]).prompt_class in held
    ]
