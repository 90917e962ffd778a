"""Request traces and scores from the trace store: pages, look-ups, and days to read again.

Scope: the two lists with their parameters, stored positions, requests per minute.
Out of scope: windows (`paged_feed.py`), storing (`storing.py`).
API: https://api.reference.langfuse.com, `GET /v3/scores` and `GET /v2/observations`
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import sqlalchemy as sa

from twin_resources.observability.langfuse.client import TraceStoreError
from twin_resources.observability.trace_store.json_values import (
    format_timestamp,
    parse_timestamp_ms,
)
from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.paged_feed import FeedState, PagedFeed, Row, TickBudget
from twin_resources.quality.ledger.storing import (
    LISTING_COLUMNS,
    SCORES,
    TRACES,
    LedgerWriter,
    store_feed,
)
from twin_resources.storage.state.state import State

SCORES_PATH = "/api/public/v3/scores"
TRACES_PATH = "/api/public/v2/observations"
SCORE_PAGE, TRACE_PAGE = 100, 200
# The gateway's own scores have another environment (`gateway/hooks/automatic_scores.py`).
ENVIRONMENT = "default"  # the environment of a score that names none
_TRACE_FIELDS = "core,basic,time,io,metadata,metrics"
_IDS_PER_REQUEST = 100  # a URL of 3.4 KB; servers accept 8 KB
_MAX_LOOK_UPS = 3
_MINUTE_MS = 60_000
_CLOCK, _REQUESTS = "clock", "requests"  # rows of the feeds table
OLD_DAYS_PASS = "old"  # the pass over days older than those that are read again each hour


class PageClient(Protocol):
    """A trace store that returns pages of rows, such as `LangfuseClient`."""

    def page(self, path: str, parameters: Mapping[str, str]) -> tuple[list[Row], str]: ...


@dataclass(frozen=True)
class ListPages:
    """The pages of a list, selected by time.

    Attributes:
        kind: `scores` or `traces`.
        time_field: the name of the field with a row's time.
        base_parameters: the parameters of every request.
        page_rows: the number of rows in a full page.
    """

    client: PageClient
    kind: str
    path: str
    time_field: str
    base_parameters: Mapping[str, str]
    page_rows: int

    def __call__(self, since_ms: int, until_ms: int, cursor: str) -> tuple[list[Row], str]:
        window = self._bound("from", since_ms) | self._bound("to", until_ms)
        return self._page(window | ({"cursor": cursor} if cursor else {}))

    def _bound(self, side: str, time_ms: int) -> dict[str, str]:
        """Return the parameter that bounds the window on this side, such as `fromTimestamp`."""
        name = f"{side}{self.time_field[0].upper()}{self.time_field[1:]}"
        return {name: format_timestamp(time_ms) or ""}

    def _page(self, parameters: Mapping[str, str]) -> tuple[list[Row], str]:
        """Request one page with these parameters and the base parameters."""
        request_parameters = {**self.base_parameters, **parameters, "limit": str(self.page_rows)}
        return self.client.page(self.path, request_parameters)

    def fetch_traces_by_id(self, trace_ids: Sequence[str], since_ms: int) -> list[Row]:
        """Return the answers in these traces that started at `since_ms` or later.

        Without a start time, Langfuse searches all its data.
        """
        id_filter = {
            "type": "stringOptions",
            "column": "traceId",
            "operator": "any of",
            "value": list(trace_ids),
        }
        filter_json = json.dumps([id_filter], separators=(",", ":"))
        return self._page(self._bound("from", since_ms) | {"filter": filter_json})[0]

    def get_time_ms(self, row: Row) -> int:
        return parse_timestamp_ms(row[self.time_field])


def score_pages(client: PageClient, environments: str = ENVIRONMENT) -> ListPages:
    """Return the pages of scores, selected by arrival time."""
    parameters = {"fields": "core,details,subject,annotation", "environment": environments}
    return ListPages(client, SCORES, SCORES_PATH, "timestamp", parameters, SCORE_PAGE)


def trace_pages(client: PageClient) -> ListPages:
    """Return the pages of answers (generation spans), selected by start time."""
    parameters = {"type": "GENERATION", "fields": _TRACE_FIELDS, "expandMetadata": "twin.chunks"}
    return ListPages(client, TRACES, TRACES_PATH, "startTime", parameters, TRACE_PAGE)


def read_feed(connection: sa.Connection, name: str) -> FeedState | None:
    """Return the stored position of a feed, or None if it was never read."""
    table = ledger_tables.feeds
    row = connection.execute(sa.select(table).where(table.c.name == name)).mappings().first()
    return FeedState(**{key: row[key] for key in row if key != "name"}) if row else None


def continue_feed(
    pages: ListPages,
    writer: LedgerWriter,
    budget: TickBudget,
    state: FeedState,
    goal_ms: int,
    *,
    pass_name: str = "",
) -> FeedState:
    """Continue reading a list towards `goal_ms`, and return the position reached.

    Args:
        pass_name: the name of a pass that reads rows again, and marks as deleted those that the
            trace store no longer returns; empty for the first reading.

    Raises:
        TraceStoreError: a page could not be read.
    """

    def commit(
        rows: Sequence[Row], next_state: FeedState, window_bounds: tuple[int, int] | None
    ) -> None:
        feed, window = (pass_name, window_bounds) if pass_name else (pages.kind, None)
        writer.commit(pages.kind, rows, feed=feed, next_state=next_state, window_bounds=window)

    feed = PagedFeed(pages, pages.get_time_ms, commit, page_rows=pages.page_rows)
    try:
        return feed.advance(state, goal_ms, budget)
    finally:
        writer.report.unread_items += feed.skipped


def look_up_traces(
    pages: ListPages, writer: LedgerWriter, budget: TickBudget, *, since_ms: int
) -> None:
    """Request the traces that new scores refer to and that no window has contained yet.

    A trace may have waited in an outbox long after the answer started. If the store fails for one
    trace, the rest are still read.

    Raises:
        TraceStoreError: the store does not respond, or it refuses the keys.
    """
    foreign_trace_ids = sorted(writer.unknown_foreign_traces - writer.unknown_traces)
    # Traces that our own scores refer to come first.
    ordered_ids = [*sorted(writer.unknown_traces), *foreign_trace_ids]
    trace_ids = ordered_ids[: _MAX_LOOK_UPS * _IDS_PER_REQUEST]
    chunks = list(ledger_tables.split_into_batches(trace_ids, _IDS_PER_REQUEST))
    while chunks and budget.remaining():
        chunk = chunks.pop(0)
        budget.spend()
        try:
            rows = pages.fetch_traces_by_id(chunk, since_ms)
        except TraceStoreError as error:
            if not error.is_server_error:
                raise
            if len(chunk) > 1:
                halves = ledger_tables.split_into_batches(chunk, (len(chunk) + 1) // 2)
                chunks = [*halves, *chunks]
            else:
                writer.report.unread_items.append(f"{chunk[0]}: {error.found}")
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
    name: str = "again",
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
    state = continue_feed(pages, writer, budget, state, state.began_ms, pass_name=name)
    return state.frontier_ms < state.began_ms


def read_trusted_time_ms(state: State, now_ms: int, *, jump_ms: int, trust_after_ms: int) -> int:
    """Return the current time, as far as this machine's clock is trusted.

    A clock that advanced by more than `jump_ms` since the last check is trusted once it has stayed
    ahead for `trust_after_ms`. Until then, the time of the last check is returned. A clock that is
    ahead for one tick therefore moves no frontier and closes no day.
    """
    with state.transaction() as connection:
        clock_state = read_feed(connection, _CLOCK) or FeedState(now_ms)
        last_seen_ms, jumped_at_ms = clock_state.frontier_ms, clock_state.began_ms
        if trust_after_ms and now_ms - last_seen_ms > jump_ms:
            jumped_at_ms = jumped_at_ms if 0 < jumped_at_ms <= now_ms else now_ms
            if now_ms - jumped_at_ms < trust_after_ms:
                store_feed(connection, _CLOCK, FeedState(last_seen_ms, 0, began_ms=jumped_at_ms))
                return last_seen_ms
        store_feed(connection, _CLOCK, FeedState(now_ms, 0))
        return now_ms


def rewind_feeds(state: State, newest_ms: int, *, reread_from_ms: int) -> float:
    """Reset the feeds that were read beyond `newest_ms` because the clock was ahead.

    Reading continues from the newest stored row up to `newest_ms`; a row that is read twice is
    stored once. The pass over the last days restarts from `reread_from_ms`.

    Returns:
        The seconds by which the clock was ahead.
    """
    rewound_ms = 0
    restart = FeedState(reread_from_ms, began_ms=newest_ms)
    passes = {f"{kind} again": restart for kind in LISTING_COLUMNS}
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
