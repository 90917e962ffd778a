"""Look up traces, read past days again, check the clock and count requests.

Scope: look-ups, passes over the last days, the clock, requests per minute.
Out of scope: pages (`list_pages.py`), windows (`paged_feed.py`), storing (`ledger_writer.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from dataclasses import replace

import sqlalchemy as sa

from twin_resources.observability.langfuse.client import TraceStoreError
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.ledger_tables import FeedState, read_feed, store_feed
from twin_resources.quality.ledger.ledger_writer import LISTING_COLUMNS, SCORES, LedgerWriter
from twin_resources.quality.ledger.list_pages import ListPages
from twin_resources.quality.ledger.paged_feed import PagedFeed, TickBudget
from twin_resources.storage.state.state import State

_IDS_PER_REQUEST = 100  # a URL of 3.4 KB; servers accept 8 KB
_MAX_LOOK_UPS = 3
_MINUTE_MS = 60_000
_MAX_CLOCK_JUMP_MS = 6 * 3_600_000
_CLOCK, _REQUESTS = "clock", "requests"  # rows of the feeds table
RECENT_DAYS_PASS = "again"  # the pass over the last days
OLD_DAYS_PASS = "old"  # the pass over days older than those that are read again each hour


def look_up_traces(
    pages: ListPages, writer: LedgerWriter, budget: TickBudget, *, since_ms: int
) -> None:
    """Request the traces that new scores refer to and that no window has contained yet.

    A trace may have waited in an outbox long after the answer started. If the store fails for one
    trace, the rest are still read.

    Raises:
        TraceStoreError: the store does not respond, or it refuses the keys.
    """
    # Traces that our own scores refer to come first.
    ordered_ids = sorted(writer.unknown_traces, key=lambda id_: (writer.unknown_traces[id_], id_))
    trace_ids = ordered_ids[: _MAX_LOOK_UPS * _IDS_PER_REQUEST]
    batches = list(ledger_tables.split_into_batches(trace_ids, _IDS_PER_REQUEST))
    while batches and budget.remaining():
        batch = batches.pop(0)
        budget.spend()
        try:
            rows = pages.fetch_traces_by_id(batch, since_ms)
        except TraceStoreError as error:
            if not error.is_server_error:
                raise
            if len(batch) > 1:
                halves = ledger_tables.split_into_batches(batch, (len(batch) + 1) // 2)
                batches = [*halves, *batches]
            else:
                writer.report.unread_items.append(f"{batch[0]}: {error.found}")
            continue
        with writer.transaction() as connection:
            writer.put_traces(connection, rows)


def reconcile(
    pages: ListPages,
    writer: LedgerWriter,
    budget: TickBudget,
    *,
    goal_ms: int,
    every_ms: int,
    length_ms: int,
    name: str = RECENT_DAYS_PASS,
) -> bool:
    """Read days again within the budget, to find rows that arrived late, changed or were deleted.

    Args:
        goal_ms: the end of these days.
        every_ms: the time from the start of one pass to the start of the next.
        length_ms: the length of these days.
        name: the name of the pass.

    Returns:
        True if the pass is unfinished.
    """
    name = f"{pages.kind} {name}"
    with writer.state.read_transaction() as connection:
        state = read_feed(connection, name)
    if state is None:  # the first reading covered everything
        state = FeedState(goal_ms, began_ms=goal_ms)
        writer.commit(pages.kind, [], feed=name, next_state=state)
    if state.frontier_ms >= state.began_ms and goal_ms - state.began_ms >= every_ms:
        state = replace(state, frontier_ms=goal_ms - length_ms, began_ms=goal_ms)
    if state.frontier_ms >= state.began_ms:
        return False
    state = PagedFeed(pages, writer, name).advance(state, state.began_ms, budget)
    return state.frontier_ms < state.began_ms


def check_clock(state: State, now_ms: int, *, trust_after_ms: int) -> str:
    """Record this machine's time; return why its clock is not trusted, or an empty string.

    A clock that advanced by more than six hours since the last check is trusted once it has stayed
    ahead for `trust_after_ms`. A clock that is ahead for one tick therefore moves no frontier and
    closes no day.
    """
    with state.transaction() as connection:
        clock_state = read_feed(connection, _CLOCK) or FeedState(now_ms)
        last_seen_ms, jumped_at_ms = clock_state.frontier_ms, clock_state.began_ms
        if trust_after_ms and now_ms - last_seen_ms > _MAX_CLOCK_JUMP_MS:
            jumped_at_ms = jumped_at_ms if 0 < jumped_at_ms <= now_ms else now_ms
            if now_ms - jumped_at_ms < trust_after_ms:
                store_feed(connection, _CLOCK, FeedState(last_seen_ms, 0, began_ms=jumped_at_ms))
                return (
                    f"the clock has jumped ahead by {(now_ms - last_seen_ms) / 3_600_000:,.0f} "
                    f"hours: the sync waits until it has stayed there for "
                    f"{trust_after_ms / 60_000:.0f} minutes"
                )
        store_feed(connection, _CLOCK, FeedState(now_ms, 0))
        return ""


def rewind_feeds(state: State, newest_ms: int, *, reread_from_ms: int) -> float:
    """Reset the feeds that were read beyond `newest_ms` because the clock was ahead.

    Reading continues from the newest stored row up to `newest_ms`; a row that is read twice is
    stored once. The pass over the last days restarts from `reread_from_ms`.

    Returns:
        The seconds by which the clock was ahead.
    """
    rewound_ms = 0
    restart = FeedState(reread_from_ms, began_ms=newest_ms)
    passes = {f"{kind} {RECENT_DAYS_PASS}": restart for kind in LISTING_COLUMNS}
    passes[f"{SCORES} {OLD_DAYS_PASS}"] = FeedState(reread_from_ms, began_ms=reread_from_ms)
    with state.transaction() as connection:
        for kind, (_, time_column) in LISTING_COLUMNS.items():
            feed = read_feed(connection, kind)
            if feed is not None and max(feed.frontier_ms, feed.until_ms) > newest_ms:
                newest_query = sa.select(sa.func.max(time_column)).where(time_column <= newest_ms)
                newest_seen_ms = int(connection.execute(newest_query).scalar() or reread_from_ms)
                rewound_ms = max(rewound_ms, feed.frontier_ms - newest_ms)
                store_feed(connection, kind, FeedState(min(newest_seen_ms, feed.frontier_ms)))
        for name, restart_state in passes.items():
            feed = read_feed(connection, name)
            if feed is not None and max(feed.frontier_ms, feed.began_ms) > newest_ms:
                store_feed(connection, name, restart_state)
    return rewound_ms / 1000


def remaining_requests(state: State, max_requests: int, now_ms: int) -> int:
    """Return how many of `max_requests` per minute all processes together may still make."""
    with state.read_transaction() as connection:
        return max(
            max_requests - sum(count for _, count in _recent_requests(connection, now_ms)), 0
        )


def record_requests(state: State, count: int, now_ms: int) -> None:
    """Record that `count` requests were made."""
    with state.transaction() as connection:
        recent_requests = [*_recent_requests(connection, now_ms), (now_ms, count)]
        store_feed(connection, _REQUESTS, FeedState(now_ms, 0, 0, json.dumps(recent_requests)))


def _recent_requests(connection: sa.Connection, now_ms: int) -> list[tuple[int, int]]:
    state = read_feed(connection, _REQUESTS)
    requests: list[tuple[int, int]] = json.loads(state.cursor) if state else []
    # A future time was recorded before the clock was set back, and no longer counts.
    return [
        (time_ms, count) for time_ms, count in requests if now_ms - _MINUTE_MS < time_ms <= now_ms
    ]
