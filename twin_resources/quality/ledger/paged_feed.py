"""Read a list that has no change feed in time windows, oldest first, within a request budget.

Scope: choosing the next window, halving windows, and the state stored for the next tick.
Out of scope: requesting a page (`list_pages.py`), storing rows (`ledger_writer.py`).
Source: `GET /v3/scores` and `GET /v2/observations` return the rows of a time window page by page,
newest first; https://api.reference.langfuse.com

A window is committed whole or not at all, so everything before the frontier has been read. A window
that does not fit into its pages is halved as soon as its first page shows that it is too dense.
The next windows keep that length, and double it while they fit. A millisecond cannot be halved: its
pages are committed one by one, and the cursor is stored for the next tick. Windows end some time
(`lag_s`) before now, because a store makes rows visible late. A tick begins some time (`overlap_s`)
before the frontier. The reconciliation finds rows that arrive even later, change or are deleted.

A store may fail whenever a particular row is requested. A window that fails is halved too. The
single millisecond that remains is skipped once the store has returned the next one.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twin_resources.observability.langfuse.client import TraceStoreError
from twin_resources.observability.trace_store.json_values import format_timestamp
from twin_resources.quality.ledger.ledger_tables import MAX_SPAN_MS, FeedState
from twin_resources.quality.ledger.ledger_writer import LedgerWriter
from twin_resources.quality.ledger.list_pages import ListPages, Row

WINDOW_PAGES = 10  # the maximum number of pages per window; a longer window is halved


@dataclass
class TickBudget:
    """The requests and time that one tick may still use.

    Attributes:
        requests: the calls left.
        deadline: the time on `time.monotonic` after which no call begins.
        spent: the calls made.
    """

    requests: int
    deadline: float
    spent: int = 0

    def remaining(self) -> int:
        """Return the number of calls that may still be made."""
        return self.requests if time.monotonic() < self.deadline else 0

    def spend(self) -> None:
        """Count one call that is about to be made."""
        self.requests -= 1
        self.spent += 1


@dataclass(frozen=True)
class PagedFeed:
    """Continues reading one list from a stored position.

    Attributes:
        pass_name: the name of a pass that reads rows again, and marks as deleted those that the
            trace store no longer returns; empty for the first reading.
    """

    pages: ListPages
    writer: LedgerWriter
    pass_name: str = ""

    def advance(self, state: FeedState, goal_ms: int, budget: TickBudget) -> FeedState:
        """Read toward `goal_ms` and return the state reached.

        Raises:
            TraceStoreError: a page could not be read; earlier commits stay.
        """
        while budget.remaining() and (state.cursor or state.frontier_ms < goal_ms):
            if state.cursor:
                state = self._continue_window(state, budget)
                continue
            # Read at least one page: a window without a page read would look empty.
            max_pages = max(min(budget.remaining(), WINDOW_PAGES), 1)
            # With fewer pages, the window is shorter.
            span_ms = max(1, state.span_ms * max_pages // WINDOW_PAGES)
            since_ms, until_ms = state.frontier_ms, min(goal_ms, state.frontier_ms + span_ms)
            try:
                rows, cursor = self._read(since_ms, until_ms, budget, max_pages=max_pages)
            except TraceStoreError as error:
                if not error.is_server_error:
                    raise
                if until_ms - since_ms > 1:
                    state = self._commit([], replace(state, span_ms=(until_ms - since_ms) // 2))
                elif budget.remaining():
                    # During an outage, this read fails too, so nothing is skipped.
                    self._read_page(until_ms, until_ms + 1, "", budget)
                    self.writer.report.unread_items.append(
                        f"{format_timestamp(since_ms)}: {error.found}"
                    )
                    state = self._commit([], replace(state, frontier_ms=until_ms))
                if not budget.remaining():
                    raise
                continue
            if not cursor:
                span_ms = self._grow_span_ms(state, until_ms, len(rows))
                next_state = replace(state, frontier_ms=until_ms, span_ms=span_ms)
                state = self._commit(rows, next_state, (since_ms, until_ms))
            elif until_ms - since_ms <= 1:
                state = self._commit(rows, replace(state, until_ms=until_ms, cursor=cursor))
            else:
                span_ms = self._shrink_span_ms(since_ms, until_ms, rows)
                state = self._commit([], replace(state, span_ms=span_ms))
        return state

    def _commit(
        self, rows: list[Row], next_state: FeedState, window_bounds: tuple[int, int] | None = None
    ) -> FeedState:
        """Store rows and the state after them in one transaction, and return the state.

        Args:
            window_bounds: the window's bounds if these are all its rows.
        """
        self.writer.commit(
            self.pages.kind,
            rows[::-1],  # oldest first, so that the newest row of a trace is stored last
            feed=self.pass_name or self.pages.kind,
            next_state=next_state,
            window_bounds=window_bounds if self.pass_name else None,
        )
        return next_state

    def _read(
        self, since_ms: int, until_ms: int, budget: TickBudget, *, max_pages: int
    ) -> tuple[list[Row], str]:
        """Return a window's rows and a cursor, which is empty if the window has no more rows."""
        rows: list[Row] = []
        cursor = ""
        for page in range(1, max_pages + 1):
            previous_oldest = self.pages.get_time_ms(rows[-1]) if rows else until_ms
            page_rows, cursor = self._read_page(since_ms, until_ms, cursor, budget)
            rows += page_rows
            if not cursor or not budget.remaining():
                break
            oldest_ms = self.pages.get_time_ms(rows[-1])
            pages_needed = page * (until_ms - since_ms) / max(until_ms - oldest_ms, 1)
            if pages_needed > 1.5 * max_pages or oldest_ms == previous_oldest:
                break  # far too dense, or a whole page in one millisecond: stop reading
        return rows, cursor

    def _grow_span_ms(self, state: FeedState, until_ms: int, row_count: int) -> int:
        """Return the next length after a window that fits: double, or less if it was dense."""
        length = until_ms - state.frontier_ms
        fill_ratio = row_count / (self.pages.page_size * WINDOW_PAGES)
        grown_length = int(length * min(2.0, 0.8 / max(fill_ratio, 0.4)))
        # The goal may have shortened the window.
        min_length = state.span_ms if fill_ratio < 0.4 else 1
        return max(1, min(max(grown_length, min_length), MAX_SPAN_MS))

    def _shrink_span_ms(self, since_ms: int, until_ms: int, rows: Sequence[Row]) -> int:
        """Return the length for the next attempt: half, or less if the rows read are dense.

        The window ends no later than the oldest row read. If that row is at its start, the
        window is one millisecond long.
        """
        length, oldest_ms = until_ms - since_ms, self.pages.get_time_ms(rows[-1])
        if oldest_ms <= since_ms:
            return 1
        pages = len(rows) / max(self.pages.page_size, 1)
        fitting_length = int((until_ms - oldest_ms) * WINDOW_PAGES / max(pages, 1.0))
        return max(1, min(length // 2, max(fitting_length, 1), oldest_ms - since_ms))

    def _continue_window(self, state: FeedState, budget: TickBudget) -> FeedState:
        rows, cursor = self._read_page(state.frontier_ms, state.until_ms, state.cursor, budget)
        if cursor:
            next_state = replace(state, cursor=cursor)
        else:
            next_state = replace(state, frontier_ms=state.until_ms, until_ms=0, cursor="")
        return self._commit(rows, next_state)

    def _read_page(
        self, since_ms: int, until_ms: int, cursor: str, budget: TickBudget
    ) -> tuple[list[Row], str]:
        budget.spend()
        rows, next_cursor = self.pages(since_ms, until_ms, cursor)
        return rows, next_cursor if rows else ""
