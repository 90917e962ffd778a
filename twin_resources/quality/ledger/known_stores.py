"""The trace stores that the ledger has read: what is missing in another store is not deleted.

A home may be switched from the embedded store to a Langfuse, to another project, or back. Each row
of the ledger names the store that returned it last, and only that store can show that a row was
deleted. Another store's feeds start anew, so whatever it has is read; rows of earlier stores stay.
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.ledger_tables import FeedState, read_feed, store_feed
from twin_resources.quality.ledger.ledger_writer import LISTING_COLUMNS
from twin_resources.quality.ledger.sync_steps import OLD_DAYS_PASS, RECENT_DAYS_PASS

_STORES_FEED = "stores"  # feed row with the stores, the current one last


@dataclass(frozen=True)
class KnownStore:
    """A trace store that the ledger has read.

    Attributes:
        name: what `LangfuseClient.identify` returned.
        since_ms: when the ledger last began to read it, in Unix milliseconds.
    """

    name: str
    since_ms: int


def read_known_stores(connection: sa.Connection) -> list[KnownStore]:
    """Return each store that was read, once; the current one is last."""
    state = read_feed(connection, _STORES_FEED)
    rows: list[tuple[str, int]] = json.loads(state.cursor) if state else []
    return [KnownStore(name, since_ms) for name, since_ms in rows]


def switch_store(connection: sa.Connection, name: str, *, now_ms: int) -> str:
    """Record the store that is read now; if it is another one, let its feeds start anew.

    Returns:
        The name of the store that was read before, or "" if the store is the same or the first.
    """
    stores = read_known_stores(connection)
    previous_name = stores[-1].name if stores else ""
    if previous_name == name:
        return ""
    rows = [(store.name, store.since_ms) for store in stores if store.name != name]
    cursor = json.dumps([*rows, (name, now_ms)])
    store_feed(connection, _STORES_FEED, FeedState(now_ms, cursor=cursor))
    if previous_name:
        feeds = ledger_tables.feeds
        names = [
            name
            for kind in LISTING_COLUMNS
            for name in (kind, f"{kind} {RECENT_DAYS_PASS}", f"{kind} {OLD_DAYS_PASS}")
        ]
        connection.execute(sa.delete(feeds).where(feeds.c.name.in_(names)))
    return previous_name


def traces_of_earlier_stores(connection: sa.Connection, author: str) -> list[str]:
    """Return the ids of an author's answers that only an earlier store has returned."""
    stores = read_known_stores(connection)
    if not stores:
        return []
    table = ledger_tables.traces
    query = sa.select(table.c.trace_id).where(
        table.c.author == author, table.c.store != stores[-1].name
    )
    return [str(trace_id) for trace_id in connection.execute(query).scalars()]


def describe_stores(connection: sa.Connection) -> list[str]:
    """Return a line on the current store and what is kept of each earlier one; none if no other."""
    *earlier_stores, current = read_known_stores(connection) or [KnownStore("", 0)]
    if not earlier_stores:
        return []
    since = datetime.fromtimestamp(current.since_ms / 1000, UTC)
    lines = [f"{current.name} is read since {since:%Y-%m-%d %H:%M} UTC"]
    for store in earlier_stores:
        counts = {
            name: connection.execute(
                sa.select(sa.func.count()).select_from(table).where(table.c.store == store.name)
            ).scalar_one()
            for name, table in (("answers", ledger_tables.traces), ("scores", ledger_tables.scores))
        }
        kept = " and ".join(f"{count:,} {name}" for name, count in counts.items())
        lines.append(f"{store.name} was read before: {kept} known from there alone still count")
    return lines
