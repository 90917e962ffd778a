"""Define the ledger's tables in the state store and their schema version.

Scope: the SQL tables, their indexes, opening them, the position of a feed.
Out of scope: the meaning of rows (`traces.py`, `scores.py`, `settlement.py`).
Method: SQLAlchemy Core metadata, https://docs.sqlalchemy.org/en/20/core/metadata.html
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from twin_resources.storage.state.state import State, StateError
from twin_resources.storage.state.state_tables import schema_versions, upsert

MAX_SPAN_MS = 90 * 86_400_000
SCHEMA_VERSION = 6  # increase it with every change that older code cannot read
metadata = sa.MetaData()


def _required(type_: type[sa.types.TypeEngine[Any]], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, type_, nullable=False) for name in names]


traces = sa.Table(
    "ledger_traces",
    metadata,
    sa.Column("trace_id", sa.String(64), primary_key=True),
    *_required(sa.Text, "author", "version", "prompt_class", "route"),
    sa.Column("propensity", sa.Double, nullable=False),
    *_required(sa.Text, "template", "checkpoint"),
    sa.Column("server", sa.Text, nullable=False, server_default=""),
    sa.Column("reader", sa.Text, nullable=False),
    sa.Column("started_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("latency_s", sa.Double),
    sa.Column("cost_usd", sa.Double),
    sa.Column("degraded", sa.Text, nullable=False),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("batch", sa.Boolean, nullable=False, server_default=sa.false()),
    *_required(sa.Text, "chunks", "question", "answer"),
    # The trace store that returned the row last (`known_stores.py`).
    sa.Column("store", sa.Text, nullable=False, server_default=""),
    sa.Index("ledger_traces_by_author", "author", "started_ms"),
)

# `status`:
# - open: waiting to be settled; only an open score can be settled, and only once
# - settled: part of a settled value
# - beside: its reader's day was settled by votes on another version or class
# - late: its reader's day was settled without it
# - capped: above the reader's share
# - beyond: above the limit of three usual days
# - new: by a new reader, above the limit of a tenth of the day
# - kept: an edit or a comparison
# - bad: invalid, with a `reason`
# - deleted: removed from the trace store
scores = sa.Table(
    "ledger_scores",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("trace_id", sa.String(64), nullable=False, index=True),
    *_required(sa.Text, "author", "version", "prompt_class"),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("value", sa.Double),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("reader", sa.Text, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("allowed_authors", sa.Text, nullable=False),
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("given_ms", sa.BigInteger, nullable=False),
    sa.Column("timestamp_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Column("day", sa.Integer, nullable=False),
    sa.Column("status", sa.String(8), nullable=False),
    sa.Column("reason", sa.String(24), nullable=False),
    sa.Column("sequence", sa.BigInteger),
    # The stream of the resulting value; empty for an edit, a comparison or an unmapped score.
    sa.Column("stream", sa.Text, nullable=False, server_default=""),
    # How many values an annotator's score is worth.
    sa.Column("weight", sa.Integer, nullable=False, server_default="1"),
    # The trace store that returned the row last (`known_stores.py`).
    sa.Column("store", sa.Text, nullable=False, server_default=""),
    # A small index that finds open scores without reading settled scores.
    sa.Index(
        "ledger_scores_open",
        "kind",
        "day",
        sqlite_where=sa.text("status = 'open'"),
        postgresql_where=sa.text("status = 'open'"),
    ),
    sa.Index(
        "ledger_scores_bad",
        "author",
        "reason",
        sqlite_where=sa.text("status = 'bad'"),
        postgresql_where=sa.text("status = 'bad'"),
    ),
)

settled = sa.Table(
    "ledger_settled",
    metadata,
    sa.Column("author", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    *_required(sa.Text, "stream", "version", "prompt_class"),
    sa.Column("value", sa.Double, nullable=False),
    # A vote's reader, or the score id of a judge or an annotator. Unique per day, so nothing is
    # settled twice.
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("day", sa.Integer, nullable=False),
    sa.Column("settled_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("author", "stream", "unit", "day"),
    sa.Index("ledger_settled_by_day", "author", "stream", "day", "unit"),
)

# The last sequence number assigned for each author.
sequences = sa.Table(
    "ledger_sequences",
    metadata,
    sa.Column("author", sa.Text, primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)

# The position of each feed; see `paged_feed.py`.
feeds = sa.Table(
    "ledger_feeds",
    metadata,
    sa.Column("name", sa.String(24), primary_key=True),
    *_required(sa.BigInteger, "frontier_ms", "span_ms", "until_ms"),
    sa.Column("cursor", sa.Text, nullable=False),
    sa.Column("began_ms", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True)
class FeedState:
    """The position up to which a list has been read.

    Attributes:
        frontier_ms: the time before which everything was read.
        span_ms: the length of the next window.
        until_ms, cursor: the end and the next page of the window at the frontier that is being read
            page by page; 0 and "" if there is none.
        began_ms: the start of this pass (reconciliation only).
    """

    frontier_ms: int
    span_ms: int = MAX_SPAN_MS
    until_ms: int = 0
    cursor: str = ""
    began_ms: int = 0


def read_feed(connection: sa.Connection, name: str) -> FeedState | None:
    """Return the stored position of a feed, or None if it was never read."""
    row = connection.execute(sa.select(feeds).where(feeds.c.name == name)).mappings().first()
    return FeedState(**{key: row[key] for key in row if key != "name"}) if row else None


def store_feed(connection: sa.Connection, name: str, state: FeedState) -> None:
    """Store the position of a feed."""
    upsert(connection, feeds, [{"name": name, **vars(state)}])


def open_tables(state: State) -> None:
    """Create the ledger's missing tables.

    Raises:
        StateError: another version of this code wrote them.
    """
    number = schema_versions.c.number
    with state.transaction() as connection:
        result = connection.execute(sa.select(number).where(schema_versions.c.store == "ledger"))
        stored_number = result.scalar()
        if stored_number is None:
            row = {"store": "ledger", "number": SCHEMA_VERSION}
            connection.execute(sa.insert(schema_versions).values(**row))
        elif stored_number != SCHEMA_VERSION:
            raise StateError(
                "open the ledger",
                found=f"schema version {stored_number}; this code reads {SCHEMA_VERSION}",
                next_step="run the llm-twin that wrote it, or make the home anew",
            )
        metadata.create_all(connection)


def find_last_sequence(connection: sa.Connection, author: str) -> int:
    """Return the last sequence number assigned for an author, or 0."""
    result = connection.execute(sa.select(sequences.c.last).where(sequences.c.author == author))
    return int(result.scalar() or 0)


def split_into_batches(values: Sequence[str], length: int) -> Iterator[Sequence[str]]:
    """Split values into batches of at most `length`, to limit a statement's parameters."""
    for start in range(0, len(values), length):
        yield values[start : start + length]
