"""Write new, changed, deleted and late rows of the trace store into the ledger.

Scope: the transaction of one window, and the status of each row.
Out of scope: reading (`paged_feed.py`), settling (`settlement.py`).
Method: upserts by the trace store's own ids, so a row that is read twice is stored once.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.ledger_tables import FeedState, store_feed
from twin_resources.quality.ledger.report import SyncReport
from twin_resources.quality.ledger.scores import (
    DAY_MS,
    OTHER,
    UNKNOWN_TRACE,
    CountedScoresReader,
    build_score_row,
    complete_from_trace,
)
from twin_resources.quality.ledger.settlement import DayClosing
from twin_resources.quality.ledger.traces import build_trace_row
from twin_resources.storage.state.lease import Lease
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import upsert

TRACES, SCORES = "traces", "scores"
# Kind of row → the columns with its id in the trace store and the time by which the store lists it.
LISTING_COLUMNS = {
    SCORES: (ledger_tables.scores.c.id, ledger_tables.scores.c.timestamp_ms),
    TRACES: (ledger_tables.traces.c.trace_id, ledger_tables.traces.c.started_ms),
}
_BATCH_SIZE = 500  # bound parameters per statement
_MAX_ROWS_PER_CALL = 2000
# A later change does not reopen a row with one of these statuses.
_FINAL_STATUSES = ("settled", "beside", "late", "capped", "beyond", "new")


@dataclass
class LedgerWriter:
    """Writes to the ledger under its lease.

    Attributes:
        read_counted_scores: returns an author's `[scores]`.
        store: the name of the store that is read (`known_stores.py`).
        closed_ms: the time before which every day was closed when the sync started.
        unknown_traces: the id of each trace that this sync's scores refer to and that the ledger
            lacks → whether only other programs' scores do. It may then be an answer by a different
            program that uses the same trace store.
    """

    state: State
    lease: Lease
    report: SyncReport
    day_closing: DayClosing
    read_counted_scores: CountedScoresReader
    store: str = ""
    closed_ms: int = 0
    unknown_traces: dict[str, bool] = field(default_factory=dict[str, bool])

    @contextmanager
    def transaction(self) -> Generator[sa.Connection]:
        """Open one transaction, after confirming that this process holds the lease.

        Raises:
            LeaseLostError: another process took the lease.
        """
        self.lease.check()
        with self.state.transaction() as connection:
            yield connection

    def commit(
        self,
        kind: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        feed: str,
        next_state: FeedState,
        window_bounds: tuple[int, int] | None = None,
    ) -> None:
        """Store the rows of one window and the new position of its feed.

        Args:
            kind: `traces` or `scores`.
            window_bounds: the window's bounds if `rows` contains all its rows. The ledger's other
                rows in the window are then marked as deleted from the trace store.
        """
        with self.transaction() as connection:
            if kind == TRACES:
                row_ids = self.put_traces(connection, rows)
            else:
                row_ids = self.put_scores(connection, rows)
            if window_bounds is not None:
                self._mark_missing_deleted(connection, kind, row_ids, window_bounds)
            store_feed(connection, feed, next_state)

    def put_traces(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> set[str]:
        """Store traces, process the scores that waited for them, and return the trace ids."""
        rows_by_id = {
            row["trace_id"]: row | {"store": self.store}
            for row in map(build_trace_row, rows)
            if row is not None
        }
        stored_rows = _rows_by_id(connection, ledger_tables.traces, "trace_id", list(rows_by_id))
        upsert(connection, ledger_tables.traces, list(rows_by_id.values()))
        new_ids = [trace_id for trace_id in rows_by_id if trace_id not in stored_rows]
        self.report.new_traces += len(new_ids)
        table = ledger_tables.scores
        for batch in ledger_tables.split_into_batches(new_ids, _BATCH_SIZE):
            waiting_rows = connection.execute(
                sa.select(table).where(table.c.trace_id.in_(batch), table.c.reason == UNKNOWN_TRACE)
            ).mappings()
            completed_rows = [
                self._complete(dict(row), rows_by_id[row["trace_id"]]) for row in waiting_rows
            ]
            self._assign_days(connection, completed_rows)
            upsert(connection, table, completed_rows)
        for trace_id in rows_by_id:
            self.unknown_traces.pop(trace_id, None)
        return set(rows_by_id)

    def put_scores(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> set[str]:
        """Store scores and return their ids."""
        rows_by_update = sorted(map(build_score_row, rows), key=lambda row: row["updated_ms"])
        rows_by_id = {row["id"]: row | {"store": self.store} for row in rows_by_update}
        stored_rows = _rows_by_id(connection, ledger_tables.scores, "id", list(rows_by_id))
        trace_ids = {row["trace_id"] for row in rows_by_id.values()}
        traces_by_id = _rows_by_id(connection, ledger_tables.traces, "trace_id", list(trace_ids))
        new_rows: list[dict[str, Any]] = []
        changed_rows: list[dict[str, Any]] = []
        for score_id, row in rows_by_id.items():
            trace, stored_row = traces_by_id.get(row["trace_id"]), stored_rows.get(score_id)
            if stored_row is None:
                new_rows.append(self._complete(row, trace))
                continue
            if row["updated_ms"] < stored_row["updated_ms"]:
                # Langfuse identifies a score by id, name and date. A vote that was changed on
                # another day therefore appears twice, and only the newer entry counts.
                continue
            original_fields = {
                name: stored_row[name] for name in ("trace_id", "given_ms", "timestamp_ms")
            }
            trace = trace or _trace_fields(stored_row)
            updated_row = self._complete(row | original_fields, trace)
            if _has_same_content(stored_row, updated_row):
                continue
            if stored_row["status"] in _FINAL_STATUSES or stored_row["sequence"] is not None:
                if updated_row["kind"] == OTHER:
                    continue  # the name is no longer mapped, but the final value stays
                content = {name: updated_row[name] for name in ("value", "text", "updated_ms")}
                restored_status = {"status": "settled"} if stored_row["status"] == "deleted" else {}
                changed_rows.append(stored_row | content | restored_status)
            else:
                self._assign_days(connection, [updated_row])
                changed_rows.append(updated_row)
        self._assign_days(connection, new_rows)
        for row in new_rows:
            if row["reason"] == UNKNOWN_TRACE:
                is_foreign = self.unknown_traces.get(row["trace_id"], True)
                self.unknown_traces[row["trace_id"]] = is_foreign and row["kind"] == OTHER
        self.report.new_scores += len(new_rows)
        self.report.changed_scores += len(changed_rows)
        self.report.invalid_scores.update(
            row["reason"] for row in new_rows if row["status"] == "bad"
        )
        upsert(connection, ledger_tables.scores, [*new_rows, *changed_rows])
        self._record_store(connection, stored_rows)
        return set(rows_by_id)

    def _record_store(
        self, connection: sa.Connection, stored_rows: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Record that this store has these scores too, even if their content is the same."""
        table = ledger_tables.scores
        ids = [score_id for score_id, row in stored_rows.items() if row["store"] != self.store]
        for batch in ledger_tables.split_into_batches(ids, _BATCH_SIZE):
            connection.execute(
                sa.update(table).where(table.c.id.in_(batch)).values(store=self.store)
            )

    def recount(self, authors: Iterable[str]) -> None:
        """Process other programs' scores again, after an author's file maps one of their names.

        The scores keep the day on which they were given, so each reader's day gives one value. A
        score is late if that day was settled without it. Settled values stay.

        Args:
            authors: the authors with `[scores]`.
        """
        table = ledger_tables.scores
        conditions = (
            table.c.author.in_(list(authors)),
            table.c.status == "bad",
            table.c.kind == OTHER,
        )
        with self.state.read_transaction() as connection:
            score_ids = list(connection.execute(sa.select(table.c.id).where(*conditions)).scalars())
        for ids in ledger_tables.split_into_batches(score_ids, _MAX_ROWS_PER_CALL):
            with self.transaction() as connection:
                rows = _rows_by_id(connection, table, "id", ids).values()
                rows_to_recount = [self._complete(row, _trace_fields(row)) for row in rows]
                counted_rows = [row for row in rows_to_recount if row["kind"] != OTHER]
                self._assign_days(connection, counted_rows, keep_own_day=True)
                upsert(connection, table, counted_rows)
                self.report.changed_scores += len(counted_rows)

    def _complete(self, row: dict[str, Any], trace: Mapping[str, Any] | None) -> dict[str, Any]:
        return complete_from_trace(row, trace, self.read_counted_scores)

    def _assign_days(
        self,
        connection: sa.Connection,
        rows: Sequence[dict[str, Any]],
        *,
        keep_own_day: bool = False,
    ) -> None:
        """Assign each vote its own day or the open day, or mark it late if its day was settled.

        Args:
            keep_own_day: never use the open day, because all votes of a reader's day are present.
        """
        votes = [row for row in rows if row["kind"] == "vote" and row["status"] == "open"]
        if not votes:
            return
        settled_days = _settled_days(connection, votes)
        for vote in votes:
            vote_day = vote["timestamp_ms"] // DAY_MS
            vote["day"] = vote_day
            if (vote["author"], vote["stream"], vote["reader"], vote_day) in settled_days:
                vote["status"] = "late"
                self.report.late_scores += 1
            elif (
                not keep_own_day
                and self.day_closing == "daily"
                and (vote_day + 1) * DAY_MS <= self.closed_ms
            ):
                vote["day"] = self.closed_ms // DAY_MS

    def _mark_missing_deleted(
        self,
        connection: sa.Connection,
        kind: str,
        returned_ids: set[str],
        window_bounds: tuple[int, int],
    ) -> None:
        table = ledger_tables.traces if kind == TRACES else ledger_tables.scores
        id_column, time_column = LISTING_COLUMNS[kind]
        is_in_window = (time_column >= window_bounds[0]) & (time_column < window_bounds[1])
        is_in_window &= table.c.store == self.store  # another store cannot show a deletion
        if kind == SCORES:
            is_in_window &= table.c.status != "deleted"
        stored_ids = connection.execute(sa.select(id_column).where(is_in_window)).scalars()
        missing_ids = [stored_id for stored_id in stored_ids if stored_id not in returned_ids]
        for batch in ledger_tables.split_into_batches(missing_ids, _BATCH_SIZE):
            if kind == TRACES:
                connection.execute(sa.delete(table).where(id_column.in_(batch)))
            else:
                update = sa.update(table).where(id_column.in_(batch))
                connection.execute(update.values(status="deleted", text=""))
        self.report.deleted_scores += len(missing_ids) if kind == SCORES else 0

    def remove_old(self, connection: sa.Connection, *, before_ms: int) -> None:
        """Remove rows past their retention, up to a limit per call."""
        for id_column, time_column in LISTING_COLUMNS.values():
            old_ids = sa.select(id_column).where(time_column < before_ms).limit(_MAX_ROWS_PER_CALL)
            connection.execute(sa.delete(id_column.table).where(id_column.in_(old_ids)))


def _trace_fields(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the trace's fields in a stored score, or None if its trace was unknown."""
    if not row["author"]:
        return None
    return {name: row[name] for name in ("author", "version", "prompt_class", "reader")}


def _has_same_content(stored_row: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    if stored_row["status"] == "deleted" or stored_row["kind"] != row["kind"]:
        return False
    return stored_row["value"] == row["value"] and stored_row["text"] == row["text"]


def _rows_by_id(
    connection: sa.Connection, table: sa.Table, name: str, ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return id → row, without the texts of traces."""
    columns = [column for column in table.c if column.name not in ("question", "answer")]
    row_by_id: dict[str, dict[str, Any]] = {}
    for batch in ledger_tables.split_into_batches(ids, _BATCH_SIZE):
        rows = connection.execute(sa.select(*columns).where(table.c[name].in_(batch)))
        row_by_id |= {row[name]: dict(row) for row in rows.mappings()}
    return row_by_id


def _settled_days(
    connection: sa.Connection, votes: Sequence[Mapping[str, Any]]
) -> set[tuple[str, str, str, int]]:
    """Return each settled (author, stream, reader, day) from the first to the last vote's day."""
    table = ledger_tables.settled
    days = {vote["timestamp_ms"] // DAY_MS for vote in votes}
    settled_days: set[tuple[str, str, str, int]] = set()
    for author, stream in {(vote["author"], vote["stream"]) for vote in votes}:
        rows = connection.execute(
            sa.select(table.c.unit, table.c.day).where(
                table.c.author == author,
                table.c.stream == stream,
                table.c.day >= min(days),
                table.c.day <= max(days),
            )
        )
        settled_days |= {(author, stream, str(reader), int(day)) for reader, day in rows}
    return settled_days
