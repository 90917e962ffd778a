"""Copy the trace store's traces and scores into the ledger, where each score counts once.

Scope: `Ledger.sync`, the only writer, and queries for users of the ledger.
Out of scope: HTTP (`langfuse/client.py`), reading within a budget (`paged_feed.py`), converting
a score into a value (`settlement.py`), decisions based on values (`statistics/`).

The trace store has no change feed. Its scores may arrive late, change or be deleted. Decisions are
therefore made from this copy, which is complete up to a frontier and in which a settled value
never changes. A failed read is reported (`problem`) and not treated as empty. Earlier commits
stay, and everything else waits for the next tick.
Langfuse's limits: https://langfuse.com/faq/all/api-limits
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from twin_resources.authors import read_counted_scores
from twin_resources.authors.score_settings import NO_SCORES, CountedScores
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.quality.ledger import known_stores, ledger_tables, list_pages, sync_steps
from twin_resources.quality.ledger.ledger_tables import FeedState
from twin_resources.quality.ledger.ledger_writer import SCORES, LedgerWriter
from twin_resources.quality.ledger.paged_feed import PagedFeed, TickBudget
from twin_resources.quality.ledger.report import SyncReport
from twin_resources.quality.ledger.scores import DAY_MS
from twin_resources.quality.ledger.settlement import DayClosing, settle
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.lease import Lease, LeaseBusyError
from twin_resources.storage.state.state import State

if TYPE_CHECKING:
    import polars as pl

LEASE = "ledger"
CLOCK_TOLERANCE_S = 120.0
# `for_home` settles a day this long after its end. By then, the hourly pass over the last days has
# read every score that was given before midnight and became visible late.
DAY_QUIET_S = 7_200.0
CAUGHT_UP_MS = 15 * 60_000  # further behind, an overlap would only read the backlog again
CLOCK_TRUST_S = 600.0  # delay before a clock that has jumped ahead is trusted
_SCORE_SETTINGS_FEED = "scores that count"  # feed row with the hash of the `[scores]` last applied


@dataclass(frozen=True)
class LedgerRules:
    """Limits and timing for reading a trace store.

    Attributes:
        requests: the maximum number of requests per sync.
        seconds: the maximum duration of a sync, in seconds.
        requests_per_minute: the maximum number of requests per minute, across syncs. Langfuse's
            free cloud plan allows 30 per organization. The rest are left to the relay, whose votes
            would otherwise wait during a long sync.
        lag_s: the time before now at which windows end, because rows become visible late.
        overlap_s: the time by which a tick's first window overlaps the last one read.
        closing: see `settlement.settle`.
        quiet_s: the time from a day's end until the day is settled.
        clock_trust_s: the time after which a clock that has jumped ahead by more than six hours is
            trusted. Until then, nothing is read or settled.
        reconcile_s: the interval at which the last `reconcile_days` are read again.
        retention_days: the age at which texts and scores are removed; settled values stay.
        environments: the trace store's environments whose scores are read, comma-separated.
    """

    requests: int = 20
    seconds: float = 25.0
    requests_per_minute: int = 20
    lag_s: float = 60.0
    overlap_s: float = 30.0
    closing: DayClosing = "daily"
    quiet_s: float = 60.0
    clock_trust_s: float = 0.0
    reconcile_s: float = 3600.0
    reconcile_days: int = 7
    retention_days: int = 90
    environments: str = list_pages.ENVIRONMENT


# A store on the same machine makes rows visible at once, and it does not limit requests.
EMBEDDED_RULES = LedgerRules(requests_per_minute=600, lag_s=2.0)


class Ledger:
    """The ledger of one state store.

    Args:
        state: the state store that contains the ledger.
        client: the trace store to read.
        rules: the reading limits.
        load_counted_scores: returns author → current `[scores]`, the scores that count besides the
            twin's own.

    Raises:
        StateError: a newer version of this code wrote the ledger.
    """

    def __init__(
        self,
        state: State,
        client: list_pages.PageClient,
        rules: LedgerRules | None = None,
        *,
        load_counted_scores: Callable[[], Mapping[str, CountedScores]] = dict,
    ) -> None:
        self.state = state
        self.client = client
        self.rules = rules or LedgerRules()
        self._load_counted_scores = load_counted_scores
        ledger_tables.open_tables(state)

    @classmethod
    def from_settings(cls, settings: Settings) -> Ledger:
        """Open a home's ledger with the trace store that its settings name."""
        state = open_home_state(settings)
        return cls.for_home(settings, state, LangfuseClient.from_settings(settings))

    @classmethod
    def for_home(cls, settings: Settings, state: State, client: list_pages.PageClient) -> Ledger:
        """Open a home's ledger with an open state store and an open trace store."""
        rules = replace(
            LedgerRules() if settings.has_real_langfuse else EMBEDDED_RULES,
            closing=settings.reader_days,
            environments=settings.score_environments,
            quiet_s=DAY_QUIET_S,
            clock_trust_s=CLOCK_TRUST_S,
        )
        return cls(state, client, rules, load_counted_scores=lambda: read_counted_scores(settings))

    def sync(self, now: datetime) -> SyncReport:
        """Read new rows and settle all scores that can be settled; safe to call at any time.

        Args:
            now: the current time. Rows of the last `lag_s` wait for the next sync.

        Returns:
            A report. Its `problem` explains an incomplete sync: another process is syncing, the
            trace store does not respond, or the minute's requests are used up. These cases raise
            no exception.

        Raises:
            LeaseLostError: the lock of this process is gone. Nothing was written after that.
        """
        start = time.monotonic()
        report = SyncReport()
        now_ms = int(now.timestamp() * 1000)
        try:
            with self.state.lease(LEASE, wait_s=0) as lease:
                report.problem = sync_steps.check_clock(
                    self.state, now_ms, trust_after_ms=int(self.rules.clock_trust_s * 1000)
                )
                if not report.problem:
                    self._sync(lease, report, now_ms, start)
        except LeaseBusyError as error:
            report.problem = f"another process is reading the ledger: {error.found}"
        return report

    def _sync(self, lease: Lease, report: SyncReport, now_ms: int, start: float) -> None:
        rules = self.rules
        remaining_requests = sync_steps.remaining_requests(
            self.state, rules.requests_per_minute, now_ms
        )
        allowed_requests = min(rules.requests, remaining_requests)
        if not allowed_requests:
            report.problem = f"the minute's {rules.requests_per_minute} requests are used up"
        budget = TickBudget(allowed_requests, start + rules.seconds)
        report.goal_ms = now_ms - int(rules.lag_s * 1000)
        report.rewound_s = sync_steps.rewind_feeds(
            self.state,
            report.goal_ms + int(CLOCK_TOLERANCE_S * 1000),
            reread_from_ms=report.goal_ms - rules.reconcile_days * DAY_MS,
        )
        counted_scores_by_author = self._load_counted_scores()
        writer = LedgerWriter(
            self.state,
            lease,
            report,
            rules.closing,
            read_counted_scores=lambda author: counted_scores_by_author.get(author, NO_SCORES),
            closed_ms=self._closed_ms(now_ms),
        )
        self._recount_if_settings_changed(writer, counted_scores_by_author)
        try:
            if budget.remaining():
                budget.spent += 1  # beside the pages that the tick may read
                self._follow_store(writer, report, now_ms)
            self._read(writer, budget, report)
        except TraceStoreError as error:
            status_text = "unreachable" if error.status is None else "unusable"
            report.problem = f"trace store {status_text}: {error.found}"
        except (KeyError, ValueError, TypeError) as error:
            message = f"{type(error).__name__}: {error}"
            report.problem = f"the trace store returned invalid data ({message})"
        finally:
            sync_steps.record_requests(self.state, budget.spent, now_ms)
        report.frontier_ms = self._frontier_ms()
        with writer.transaction() as connection:
            settle(
                connection,
                report,
                frontier_ms=self._closed_ms(now_ms),
                day_closing=rules.closing,
                now_ms=now_ms,
            )
            writer.remove_old(connection, before_ms=now_ms - rules.retention_days * DAY_MS)

    def _recount_if_settings_changed(
        self, writer: LedgerWriter, counted_scores_by_author: Mapping[str, CountedScores]
    ) -> None:
        """Process other programs' scores again if the set of scores that count has changed."""
        tables = {
            author: counted_scores.as_table()
            for author, counted_scores in sorted(counted_scores_by_author.items())
        }
        current_hash = hashlib.sha256(json.dumps(tables).encode()).hexdigest()
        stored_state = self._feed_state(_SCORE_SETTINGS_FEED)
        if stored_state is not None and stored_state.cursor == current_hash:
            return
        writer.recount(counted_scores_by_author)
        with writer.transaction() as connection:
            ledger_tables.store_feed(
                connection, _SCORE_SETTINGS_FEED, FeedState(0, cursor=current_hash)
            )

    def _follow_store(self, writer: LedgerWriter, report: SyncReport, now_ms: int) -> None:
        """Ask the store who it is; another store than the last one is read from its beginning."""
        writer.store = self.client.identify()
        with writer.transaction() as connection:
            previous_name = known_stores.switch_store(connection, writer.store, now_ms=now_ms)
        if previous_name:
            report.switched_stores = f"{writer.store} is read now, in place of {previous_name}"

    def _closed_ms(self, now_ms: int) -> int:
        """Return the time before which days are closed: fully read, and over for `quiet_s`."""
        return min(self._frontier_ms(), now_ms - int(self.rules.quiet_s * 1000))

    def _frontier_ms(self) -> int:
        return (self._feed_state(SCORES) or FeedState(0)).frontier_ms

    def _feed_state(self, name: str) -> FeedState | None:
        with self.state.read_transaction() as connection:
            return ledger_tables.read_feed(connection, name)

    def _read(self, writer: LedgerWriter, budget: TickBudget, report: SyncReport) -> None:
        rules, goal_ms = self.rules, report.goal_ms
        traces = list_pages.trace_pages(self.client)
        scores = list_pages.score_pages(self.client, rules.environments)
        start = FeedState(max(goal_ms - rules.retention_days * DAY_MS, 0))
        # Traces are read first, because scores refer to them. Half the budget remains for scores.
        reserved_requests = budget.requests // 2
        budget.requests -= reserved_requests
        self._read_new_rows(traces, writer, budget, start, goal_ms)
        budget.requests += reserved_requests
        self._read_new_rows(scores, writer, budget, start, goal_ms)
        sync_steps.look_up_traces(traces, writer, budget, since_ms=start.frontier_ms)
        for pages in (scores, traces):
            report.is_reconciling |= sync_steps.reconcile(
                pages,
                writer,
                budget,
                goal_ms=goal_ms,
                every_ms=int(rules.reconcile_s * 1000),
                length_ms=rules.reconcile_days * DAY_MS,
            )
        if not report.is_reconciling:
            # Once a day, the remaining budget goes to scores that appeared over a week late.
            sync_steps.reconcile(
                scores,
                writer,
                budget,
                goal_ms=goal_ms - rules.reconcile_days * DAY_MS,
                every_ms=DAY_MS,
                length_ms=(rules.retention_days - rules.reconcile_days) * DAY_MS,
                name=sync_steps.OLD_DAYS_PASS,
            )

    def _read_new_rows(
        self,
        pages: list_pages.ListPages,
        writer: LedgerWriter,
        budget: TickBudget,
        start: FeedState,
        goal_ms: int,
    ) -> None:
        """Continue the first reading of a list, from `start` if it was never read."""
        state = self._feed_state(pages.kind) or start
        overlap_ms = int(self.rules.overlap_s * 1000)
        is_caught_up = not state.cursor and goal_ms - state.frontier_ms <= CAUGHT_UP_MS
        # If the last rows are dense, windows are short, and an overlap would read the same again.
        if is_caught_up and state.span_ms > overlap_ms:
            state = replace(state, frontier_ms=state.frontier_ms - overlap_ms)
        PagedFeed(pages, writer).advance(state, goal_ms, budget)

    def interactions(self, author: str) -> pl.DataFrame:
        """Return answers with the scores by readers and judges; see `build_interactions_frame`."""
        from twin_resources.quality.ledger.interactions_frame import build_interactions_frame

        with self.state.read_transaction() as connection:
            return build_interactions_frame(connection, author)
