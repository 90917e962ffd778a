"""Settled values of one stream or version, as the loop asks the ledger's table for them.

Belongs here: queries on `ledger_settled` and the scores and traces behind a value.
Does not belong here: writing them (`ledger/`), what is concluded from them (`statistics/`).
"""
# pyright: strict

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import sqlalchemy as sa

from twin_resources.quality.ledger.ledger_tables import scores, sequences, settled, traces
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.statistics.diagnosis import Conditions
from twin_resources.statistics.values import SettledValue

RATE_DAYS = 28
_TRACES = 5_000
_COLUMNS = ("sequence", "author", "stream", "version", "prompt_class", "value", "day", "unit")


def last_sequences(connection: sa.Connection) -> dict[str, int]:
    """Author → the last sequence number given out."""
    rows = connection.execute(sa.select(sequences.c.author, sequences.c.last))
    return {str(author): int(last) for author, last in rows}


def last_sequence_of(connection: sa.Connection, author: str) -> int:
    """The last sequence number given out to an author; 0: none yet."""
    last = connection.execute(sa.select(sequences.c.last).where(sequences.c.author == author))
    return int(last.scalar() or 0)


def of_version(
    connection: sa.Connection,
    author: str,
    *,
    version: str,
    after: int = 0,
    until: int | None = None,
    stream: str | None = None,
    settled_before_ms: int | None = None,
    limit: int,
    newest: bool = False,
    by_day: bool = True,
) -> list[SettledValue]:
    """Values of one version in the order of settling.

    Args:
        after, until: sequence numbers above, and up to and with.
        stream: None: all of them.
        settled_before_ms: only those settled before this instant.
        limit: the most; of more, the oldest, or the `newest`.
        by_day: False: each value stands for itself (`LoopRules.by_day`).
    """
    query = sa.select(*(settled.c[name] for name in _COLUMNS)).where(
        settled.c.author == author, settled.c.version == version, settled.c.sequence > after
    )
    if until is not None:
        query = query.where(settled.c.sequence <= until)
    if stream is not None:
        query = query.where(settled.c.stream == stream)
    if settled_before_ms is not None:
        query = query.where(settled.c.settled_ms < settled_before_ms)
    order = settled.c.sequence.desc() if newest else settled.c.sequence
    rows = connection.execute(query.order_by(order).limit(limit)).all()
    found = [SettledValue(*row) for row in (reversed(rows) if newest else rows)]
    return found if by_day else [replace(value, day=None) for value in found]


def per_day(connection: sa.Connection, author: str, *, stream: str, today: int) -> float | None:
    """Values a day lately: of the last 28 days, or of the days since the first; None: none yet.

    Args:
        today: days since the epoch, UTC.
    """
    count, first = connection.execute(
        sa.select(sa.func.count(), sa.func.min(settled.c.day)).where(
            settled.c.author == author,
            settled.c.stream == stream,
            settled.c.day > today - RATE_DAYS,
        )
    ).one()
    return int(count) / max(1, today - int(first) + 1) if count else None


def day_of(connection: sa.Connection, author: str, sequence: int) -> int:
    """The day of a settled value, days since the epoch, UTC."""
    day = sa.select(settled.c.day).where(settled.c.author == author, settled.c.sequence == sequence)
    return int(connection.execute(day).scalar_one())


def answered_at(connection: sa.Connection, author: str, sequence: int) -> int:
    """When the first answer behind a settled value was given, Unix milliseconds.

    The start of its day when the score is gone (deleted, past retention) or came late.
    """
    day_ms = day_of(connection, author, sequence) * DAY_MS
    # Scores have no index by sequence: those of a day are read, which an alarm may cost.
    started = connection.execute(
        sa.select(sa.func.min(traces.c.started_ms))
        .join(scores, scores.c.trace_id == traces.c.trace_id)
        .where(
            scores.c.timestamp_ms >= day_ms,
            scores.c.timestamp_ms < day_ms + DAY_MS,
            scores.c.author == author,
            scores.c.sequence == sequence,
        )
    ).scalar()
    return day_ms if started is None else int(started)


def conditions(
    connection: sa.Connection,
    author: str,
    *,
    version: str,
    since_ms: int,
    until_ms: int,
) -> Conditions | None:
    """How a version's answers of a time came about; None: none are known.

    Args:
        since_ms, until_ms: start of the answers, ≥ and <; at most the newest 5,000 are read.
    """
    rows = connection.execute(
        sa.select(traces.c.chunks, traces.c.degraded, traces.c.template, traces.c.server)
        .where(
            traces.c.author == author,
            traces.c.version == version,
            traces.c.started_ms >= since_ms,
            traces.c.started_ms < until_ms,
        )
        .order_by(traces.c.started_ms.desc())
        .limit(_TRACES)
    ).all()
    if not rows:
        return None
    templates = Counter(str(row.template) for row in rows)
    servers = Counter(str(row.server) for row in rows if row.server)
    return Conditions(
        retrieval_hit_rate=sum(bool(row.chunks) for row in rows) / len(rows),
        degraded_share=sum(bool(row.degraded) for row in rows) / len(rows),
        template=templates.most_common(1)[0][0],
        base="",  # a version names its base: it cannot change under it
        server=servers.most_common(1)[0][0] if servers else "",
    )
