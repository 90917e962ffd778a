"""Query the settled values of one stream or version for the retraining loop.

Scope: queries on `ledger_settled`.
Out of scope: writing this table (`ledger/`), conclusions from them (`statistics/`).
"""
# pyright: strict

from __future__ import annotations

import sqlalchemy as sa

from twin_resources.quality.ledger.ledger_tables import settled
from twin_resources.statistics.detector import BEFORE_DAYS, Alarm, DaySum
from twin_resources.statistics.vote_limits import ReaderTotals

RATE_DAYS = 28
SUMMED_DAYS = 730
VALUES_PER_DAY = 10  # values per day if each value is settled at once


def find_streams(connection: sa.Connection, author: str, version: str) -> set[str]:
    """Return the streams in which a version has a settled value."""
    query = sa.select(settled.c.stream).where(
        settled.c.author == author, settled.c.version == version
    )
    return set(connection.execute(query.distinct()).scalars())


def sum_by_day(
    connection: sa.Connection,
    author: str,
    *,
    stream: str,
    after: int = 0,
    groups_by_day: bool = True,
) -> list[DaySum]:
    """Return a stream's sums by day, version and class, for the newest `SUMMED_DAYS` days.

    Args:
        after: only values with a higher sequence number are summed.
        groups_by_day: if False, each `VALUES_PER_DAY` consecutive values form a day
            (`LoopRules.groups_by_day`).
    """
    row_number = sa.func.row_number().over(order_by=settled.c.sequence) - 1
    columns = (
        sa.select(
            (settled.c.day if groups_by_day else row_number // VALUES_PER_DAY).label("day"),
            (settled.c.settled_ms if groups_by_day else sa.literal(0)).label("settled_ms"),
            settled.c.version,
            settled.c.prompt_class,
            settled.c.value,
            settled.c.sequence,
        )
        .where(settled.c.author == author, settled.c.stream == stream, settled.c.sequence > after)
        .subquery()
        .c
    )
    newest_day = connection.execute(sa.select(sa.func.max(columns.day))).scalar() or 0
    key = (columns.day, columns.version, columns.prompt_class)
    first_sequence = sa.func.min(columns.sequence)
    rows = connection.execute(
        sa.select(
            *key,
            sa.func.count(),
            sa.func.sum(columns.value),
            sa.func.sum(columns.value * columns.value),
            first_sequence,
            sa.func.max(columns.sequence),
            columns.settled_ms,
        )
        .where(columns.day > newest_day - SUMMED_DAYS)
        .group_by(*key, columns.settled_ms)
        .order_by(columns.day, first_sequence)
    )
    return [DaySum(*row) for row in rows]


def sum_by_reader(connection: sa.Connection, alarm: Alarm) -> dict[str, ReaderTotals]:
    """Return reader → the reader's totals in the `BEFORE_DAYS` before a fall and since it."""
    is_by_author = settled.c.author == alarm.author
    first_day = sa.select(settled.c.day).where(is_by_author, settled.c.sequence == alarm.since)
    is_since = settled.c.sequence >= alarm.since
    value = settled.c.value
    rows = connection.execute(
        sa.select(
            settled.c.unit,
            sa.func.sum(sa.case((is_since, 0), else_=1)),
            sa.func.sum(sa.case((is_since, 0.0), else_=value)),
            sa.func.sum(sa.case((is_since, 1), else_=0)),
            sa.func.sum(sa.case((is_since, value), else_=0.0)),
        )
        .where(
            is_by_author,
            settled.c.stream == alarm.stream,
            settled.c.sequence <= alarm.sequence,
            settled.c.day >= first_day.scalar_subquery() - BEFORE_DAYS,
        )
        .group_by(settled.c.unit)
    )
    return {
        str(reader): ReaderTotals(*(float(total) for total in totals)) for reader, *totals in rows
    }


def compute_values_per_day(
    connection: sa.Connection, author: str, *, stream: str, today: int
) -> float | None:
    """Return the mean number of values per day over the last 28 days, or None if there are none.

    If the first value is more recent, the mean is taken over the days since then.

    Args:
        today: days since the epoch, UTC.
    """
    count, first_day = connection.execute(
        sa.select(sa.func.count(), sa.func.min(settled.c.day)).where(
            settled.c.author == author,
            settled.c.stream == stream,
            settled.c.day > today - RATE_DAYS,
        )
    ).one()
    return int(count) / max(1, today - int(first_day) + 1) if count else None
