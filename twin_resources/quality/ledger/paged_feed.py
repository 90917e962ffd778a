"""Reading a list that has no change feed: time windows, oldest first, within a budget of requests.

Scope: which window is read next, when one is halved, and what is left for the next tick.
Out of scope: what the rows mean, storing them (`ledger.py`).
Source: `GET /v3/scores` and `GET /v2/observations` answer newest first, a page at a time, by time
window; https://api.reference.langfuse.com

A window is committed whole or not at all, so that the frontier says: everything before it was read.
One that does not fit into its pages is halved, at once when its first page shows how dense it is;
the next ones keep that length and double it again while they fit. A millisecond cannot be halved:
its pages are committed one by one, and the cursor is kept for the next tick. Windows end `lag`
before now, because a store makes rows visible late, and the first of a tick reaches back a little
into what was read already. What comes later still, is changed or deleted, the reconciliation finds.

A store may fail for one row whenever it is asked for. A window for which it fails is halved too,
and the millisecond that is left is passed over once the store has answered for the next one.
"""
# pyright: strict

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from twin_resources.observability.langfuse.client import TraceStoreError
from twin_resources.observability.trace_store.json_values import instant

WINDOW_PAGES = 10
OVERLAP_PAGES = 3  # for the first window of a tick, which reaches back
CAUGHT_UP_MS = 15 * 60_000  # further behind, reaching back would read the same backlog again
MAX_SPAN_MS = 90 * 86_400_000

Row = dict[str, Any]


class PageReader(Protocol):
    """Reads one page of rows with `since ≤ time < until`, newest first; "" is no cursor."""

    def __call__(self, since_ms: int, until_ms: int, cursor: str) -> tuple[list[Row], str]: ...


@dataclass
class TickBudget:
    """What one tick may still spend.

    Attributes:
        requests: calls left.
        ends_at: instant of `clock` after which no call is begun.
    """

    requests: int
    ends_at: float
    clock: Callable[[], float] = time.monotonic
    spent: int = 0

    def left(self, most: int | None = None) -> int:
        """Calls that may still be made, at most `most`."""
        if self.clock() >= self.ends_at:
            return 0
        return self.requests if most is None else min(self.requests, most)

    def spend(self) -> None:
        """One call is about to be made."""
        self.requests -= 1
        self.spent += 1

    @contextmanager
    def part(self, share: int) -> Generator[TickBudget]:
        """One of `share` equal parts of what is left, rounded up; what it spends is spent here."""
        given = TickBudget(-(-self.requests // share), self.ends_at, self.clock)
        try:
            yield given
        finally:
            self.requests -= given.spent
            self.spent += given.spent


@dataclass(frozen=True)
class FeedState:
    """How far a list was read.

    Attributes:
        frontier_ms: everything before it was read.
        span_ms: length of the next window.
        until_ms, cursor: the window from the frontier on that is read on page by page; 0 and "":
            none.
        began_ms: when this pass began (reconciliation only).
    """

    frontier_ms: int
    span_ms: int = MAX_SPAN_MS
    until_ms: int = 0
    cursor: str = ""
    began_ms: int = 0


@dataclass(frozen=True)
class FeedWindow:
    """Rows to commit: all of `[since, until)` when `whole`, else some of it. Oldest first."""

    since_ms: int
    until_ms: int
    rows: Sequence[Row]
    whole: bool


@dataclass
class PagedFeed:
    """Reads one list on from where it was left.

    Attributes:
        page: reads one page.
        time_of: a row's time, Unix milliseconds.
        commit: stores a window's rows together with the state after it, in one transaction.
        page_rows: rows of a full page.
        window_pages: a window of more pages is halved.
        skipped: milliseconds that were passed over, and why.
    """

    page: PageReader
    time_of: Callable[[Row], int]
    commit: Callable[[FeedWindow, FeedState], None]
    page_rows: int
    window_pages: int = WINDOW_PAGES
    skipped: list[str] = field(default_factory=list[str])

    def advance(
        self, state: FeedState, goal_ms: int, budget: TickBudget, *, overlap_ms: int = 0
    ) -> FeedState:
        """Read towards `goal_ms`; returns how far it came.

        Raises:
            TraceStoreError: a page could not be read; what was committed before it stays.
        """
        reach_back = overlap_ms if goal_ms - state.frontier_ms <= CAUGHT_UP_MS else 0
        while budget.left() and (state.cursor or state.frontier_ms < goal_ms):
            if state.cursor:
                state = self._read_on(state, budget)
                continue
            # at least one: no page read at all would look like an empty window
            most = max(budget.left(OVERLAP_PAGES if reach_back else self.window_pages), 1)
            until_ms = min(goal_ms, state.frontier_ms + self._span_ms(state, most))
            since_ms = max(state.frontier_ms - reach_back, 0)
            try:
                rows, cursor = self._read(since_ms, until_ms, budget, most=most)
            except TraceStoreError as error:
                if not error.is_of_the_store:
                    raise
                state = self._without(state, until_ms, error, budget)
                reach_back = 0
                continue
            if not cursor:
                after = replace(
                    state, frontier_ms=until_ms, span_ms=self._longer(state, until_ms, len(rows))
                )
                state = self._commit(since_ms, until_ms, rows, after, whole=True)
            elif reach_back:
                pass  # again without it: a dense stretch just behind must not stop what is ahead
            elif until_ms - since_ms <= 1:
                after = replace(state, until_ms=until_ms, cursor=cursor)
                state = self._commit(since_ms, until_ms, rows, after, whole=False)
            else:
                span_ms = self._shorter(since_ms, until_ms, rows)
                after = replace(state, span_ms=span_ms)
                state = self._commit(since_ms, since_ms, [], after, whole=False)
            reach_back = 0
        return state

    def _without(
        self, state: FeedState, until_ms: int, error: TraceStoreError, budget: TickBudget
    ) -> FeedState:
        """A shorter window after one that the store failed for; none where one cannot be shorter.

        Raises:
            TraceStoreError: it fails for the next millisecond too, or no request is left.
        """
        frontier_ms = state.frontier_ms
        if until_ms - frontier_ms > 1:
            after = replace(state, span_ms=(until_ms - frontier_ms) // 2)
        else:
            if not budget.left():
                raise error
            self._one_page(until_ms, until_ms + 1, "", budget)
            self.skipped.append(f"{instant(frontier_ms)}: {error.found}")
            after = replace(state, frontier_ms=until_ms)
        state = self._commit(frontier_ms, frontier_ms, [], after, whole=False)
        if not budget.left():
            raise error
        return state

    def _commit(
        self, since_ms: int, until_ms: int, rows: Sequence[Row], after: FeedState, *, whole: bool
    ) -> FeedState:
        ordered = sorted(rows, key=lambda row: (self.time_of(row), str(row.get("id", ""))))
        self.commit(FeedWindow(since_ms, until_ms, ordered, whole), after)
        return after

    def _read(
        self, since_ms: int, until_ms: int, budget: TickBudget, *, most: int
    ) -> tuple[list[Row], str]:
        """The rows of a window; the cursor is not empty when it has more than fits."""
        rows: list[Row] = []
        cursor = ""
        for page in range(1, most + 1):
            before = self.time_of(rows[-1]) if rows else until_ms
            more, cursor = self._one_page(since_ms, until_ms, cursor, budget)
            rows += more
            if not cursor or not budget.left():
                break
            oldest = self.time_of(rows[-1])
            pages_needed = page * (until_ms - since_ms) / max(until_ms - oldest, 1)
            if pages_needed > 1.5 * most or oldest == before:
                break  # far too dense, or all of a page in one millisecond: do not read it all
        return rows, cursor

    def _span_ms(self, state: FeedState, most: int) -> int:
        """Length of the next window: shorter when fewer pages are left for it."""
        return max(1, state.span_ms * most // self.window_pages)

    def _longer(self, state: FeedState, until_ms: int, rows: int) -> int:
        """Length of the window after one that fitted: twice, less when this one was rather full."""
        length = until_ms - state.frontier_ms
        full = rows / (self.page_rows * self.window_pages)
        grown = int(length * min(2.0, 0.8 / max(full, 0.4)))
        keep = state.span_ms if full < 0.4 else 1  # the goal cut it short: as long as before
        return max(1, min(max(grown, keep), MAX_SPAN_MS))

    def _shorter(self, since_ms: int, until_ms: int, rows: Sequence[Row]) -> int:
        """Length of the next try: half, less where the rows seen lie denser, and in front of the
        oldest row seen; one millisecond when that is where it begins."""
        length, oldest = until_ms - since_ms, self.time_of(rows[-1])
        if oldest <= since_ms:
            return 1
        pages = len(rows) / max(self.page_rows, 1)
        fits = int((until_ms - oldest) * self.window_pages / max(pages, 1.0))
        return max(1, min(length // 2, max(fits, 1), oldest - since_ms))

    def _read_on(self, state: FeedState, budget: TickBudget) -> FeedState:
        rows, cursor = self._one_page(state.frontier_ms, state.until_ms, state.cursor, budget)
        if cursor:
            after = replace(state, cursor=cursor)
        else:
            after = replace(state, frontier_ms=state.until_ms, until_ms=0, cursor="")
        return self._commit(state.frontier_ms, state.until_ms, rows, after, whole=False)

    def _one_page(
        self, since_ms: int, until_ms: int, cursor: str, budget: TickBudget
    ) -> tuple[list[Row], str]:
        budget.spend()
        rows, following = self.page(since_ms, until_ms, cursor)
        return rows, following if rows else ""
