"""Read a canary's votes from the ledger as pairs, and measure how often an author gets votes.

Scope: the settled votes (thumbs) for the candidate and the incumbent of one trial.
Out of scope: settling values (`ledger/`), betting on pairs (`statistics/promotion.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.quality.ledger.settlement import VOTE_STREAM
from twin_resources.quality.release.release_mode import pair_canary_values
from twin_resources.quality.release.trial_rows import StoredTrial
from twin_resources.statistics.promotion import PairedDifference
from twin_resources.storage.state.state import State

CLAIM = "thumbs"
RATE_DAYS = 28


@dataclass(frozen=True)
class CanaryDays:
    """The pairs of a canary so far, and the number of its readers.

    Attributes:
        pairs: the pairs, oldest first. Sequence numbers show which pairs were already used.
        reader_count: the number of distinct readers who voted on the candidate.
    """

    pairs: tuple[PairedDifference, ...]
    reader_count: int


@dataclass(frozen=True)
class VoteRate:
    """An author's settled votes (reader-days) per day, and distinct readers, in four weeks."""

    values_per_day: float
    reader_count: int


def read_canary_days(state: State, trial: StoredTrial) -> CanaryDays:
    """Return all pairs of a canary's trial, and the number of its readers."""
    ledger_tables.open_tables(state)
    trial_candidate, table = trial.candidate, ledger_tables.settled
    candidate, incumbent = f"v{trial_candidate.version}", f"v{trial_candidate.incumbent}"
    trial_conditions = (
        table.c.author == trial_candidate.author,
        table.c.stream == VOTE_STREAM,
        table.c.sequence > trial.after_sequence,
    )
    with state.read_transaction() as connection:
        values = list(
            connection.execute(
                sa.select(table.c.sequence, table.c.version, table.c.prompt_class, table.c.value)
                .where(*trial_conditions, table.c.version.in_([candidate, incumbent]))
                .order_by(table.c.sequence)
            ).tuples()
        )
        reader_count = connection.execute(
            sa.select(sa.func.count(sa.distinct(table.c.unit))).where(
                *trial_conditions, table.c.version == candidate
            )
        ).scalar_one()
    pairs = pair_canary_values(values, candidate=candidate, incumbent=incumbent, claim=CLAIM)
    return CanaryDays(tuple(pairs), int(reader_count))


def measure_vote_rate(state: State, author: str, *, now: float) -> VoteRate:
    """Measure how often readers vote on an author's answers.

    Args:
        now: seconds since the epoch.
    """
    ledger_tables.open_tables(state)
    table = ledger_tables.settled
    today = int(now * 1000) // DAY_MS
    with state.read_transaction() as connection:
        value_count, reader_count, first_day = connection.execute(
            sa.select(
                sa.func.count(),
                sa.func.count(sa.distinct(table.c.unit)),
                sa.func.min(table.c.day),
            ).where(
                table.c.author == author,
                table.c.stream == VOTE_STREAM,
                table.c.day >= today - RATE_DAYS,
            )
        ).one()
    days = max(1, today - int(first_day) + 1) if value_count else RATE_DAYS
    return VoteRate(value_count / days, reader_count)
