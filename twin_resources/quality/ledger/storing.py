"""Writes new, changed, deleted and late rows of the trace store into the ledger.

Scope: the transaction of one window, and the status of each row.
Out of scope: reading (`paged_feed.py`), settling (`settling.py`).
Method: upserts by the trace store's own ids, so that a row that is read twice is stored once.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from twin_resources.quality.ledger import ledger_tables
from twin_resources.quality.ledger.paged_feed import FeedState
from twin_resources.quality.ledger.report import SyncReport
from twin_resources.quality.ledger.scores import (
    DAY_MS,
    OTHER,
    UNKNOWN_TRACE,
    CountsOf,
    score_row,
    with_trace,
)
from twin_resources.quality.ledger.settling import Closing
from twin_resources.quality.ledger.traces import trace_row
from twin_resources.storage.state.lease import Lease
from twin_resources.storage.state.state import State

TRACES, SCORES = "traces", "scores"
# Kind of row → columns of its id in the trace store and of the time by which it is listed.
LISTED_BY = {
    SCORES: (ledger_tables.scores.c.id, ledger_tables.scores.c.timestamp_ms),
    TRACES: (ledger_tables.traces.c.trace_id, ledger_tables.traces.c.started_ms),
}
_CHUNK = 500  # bound parameters of one statement
_OLD_AT_ONCE = 2000
# A later change does not reopen a row with one of these statuses.
_FINAL = ("settled", "beside", "late", "capped", "beyond", "new")


@dataclass
class LedgerWriter:
    """Writes to the ledger under its lease.

    Attributes:
        counts: author → its `[scores]`.
        closed_ms: the time when the sync began before which all days are closed.
        unknown: traces that scores of this sync name and that are missing from the ledger.
        unknown_of_others: missing traces that scores of other names refer to. They may be answers
            of another program that uses the same trace store.
    """

    state: State
    lease: Lease
    tally: SyncReport
    closing: Closing
    counts: CountsOf
    closed_ms: int = 0
    unknown: set[str] = field(default_factory=set[str])
    unknown_of_others: set[str] = field(default_factory=set[str])

    @contextmanager
    def writing(self) -> Generator[sa.Connection]:
        """Open one transaction, after confirming that this process holds the lease.

        Raises:
            LeaseLost: another process took the lease.
        """
        self.lease.confirm()
        with self.state.transaction() as connection:
            yield connection

    def commit(
        self,
        kind: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        feed: str,
        after: FeedState,
        whole: tuple[int, int] | None = None,
    ) -> None:
        """Store the rows of one window and the new position of its feed.

        Args:
            kind: `traces` or `scores`.
            whole: the window's bounds if `rows` are all its rows; the ledger's other rows in the
                window were then deleted from the store.
        """
        with self.writing() as connection:
            if kind == TRACES:
                seen = self.put_traces(connection, rows)
            else:
                seen = self.put_scores(connection, rows)
            if whole is not None:
                self._forget_vanished(connection, kind, seen, whole)
            put_feed(connection, feed, after)

    def put_traces(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> set[str]:
        """Store traces, process the scores that waited for them, and return the ids seen."""
        made = {row["trace_id"]: row for row in map(trace_row, rows) if row is not None}
        known = _by_id(connection, ledger_tables.traces, "trace_id", list(made))
        ledger_tables.upsert(connection, ledger_tables.traces, list(made.values()))
        new = [identity for identity in made if identity not in known]
        self.tally.traces += len(new)
        table = ledger_tables.scores
        for chunk in ledger_tables.pieces(new, _CHUNK):
            waited = connection.execute(
                sa.select(table).where(table.c.trace_id.in_(chunk), table.c.reason == UNKNOWN_TRACE)
            ).mappings()
            completed = [
                with_trace(dict(row), made[row["trace_id"]], self.counts) for row in waited
            ]
            self._place(connection, completed)
            ledger_tables.upsert(connection, table, completed)
        self.unknown -= set(made)
        self.unknown_of_others -= set(made)
        return set(made)

    def put_scores(self, connection: sa.Connection, rows: Iterable[Mapping[str, Any]]) -> set[str]:
        """Store scores and return the ids seen."""
        newest_last = sorted(map(score_row, rows), key=lambda row: row["updated_ms"])
        made = {row["id"]: row for row in newest_last}
        known = _by_id(connection, ledger_tables.scores, "id", list(made))
        named = {row["trace_id"] for row in made.values()}
        of_traces = _by_id(connection, ledger_tables.traces, "trace_id", list(named))
        fresh: list[dict[str, Any]] = []
        changed: list[dict[str, Any]] = []
        for identity, row in made.items():
            former = known.get(identity)
            if former is None:
                fresh.append(with_trace(row, of_traces.get(row["trace_id"]), self.counts))
                continue
            if row["updated_ms"] < former["updated_ms"]:
                # Langfuse identifies a score by id, name and date: a vote that was changed on
                # another day appears twice, and the newest counts.
                continue
            if row["kind"] == OTHER:  # on its own scale: compare the mapped value
                trace = of_traces.get(former["trace_id"]) or _told_by(former)
                row = with_trace(row, trace, self.counts)  # noqa: PLW2901
                if row["kind"] == OTHER and former["status"] in _FINAL:
                    continue  # its name is no longer mapped; its final value stays
            if _says_the_same(former, row):
                continue
            if former["status"] in _FINAL or former["sequence"] is not None:
                content = {name: row[name] for name in ("value", "text", "updated_ms")}
                back = {"status": "settled"} if former["status"] == "deleted" else {}
                changed.append(former | content | back)
            else:
                origin = {name: former[name] for name in ("trace_id", "given_ms", "timestamp_ms")}
                again = with_trace(row | origin, of_traces.get(former["trace_id"]), self.counts)
                self._place(connection, [again])
                changed.append(again)
        self._place(connection, fresh)
        for row in fresh:
            if row["reason"] == UNKNOWN_TRACE:
                unknown = self.unknown_of_others if row["kind"] == OTHER else self.unknown
                unknown.add(row["trace_id"])
        self.tally.scores += len(fresh)
        self.tally.changed += len(changed)
        self.tally.bad.update(row["reason"] for row in fresh if row["status"] == "bad")
        ledger_tables.upsert(connection, ledger_tables.scores, [*fresh, *changed])
        return set(made)

    def count_again(self, authors: Iterable[str]) -> None:
        """Process scores of other names again, after an author's file maps one of them.

        They keep the day on which they were given, so each reader's day gives one value. A score
        is late if that day was settled without it. Settled values stay.

        Args:
            authors: the authors with `[scores]`.
        """
        table = ledger_tables.scores
        mine = (table.c.author.in_(list(authors)), table.c.status == "bad", table.c.kind == OTHER)
        with self.state.reading() as connection:
            waiting = list(connection.execute(sa.select(table.c.id).where(*mine)).scalars())
        for ids in ledger_tables.pieces(waiting, _OLD_AT_ONCE):
            with self.writing() as connection:
                rows = _by_id(connection, table, "id", ids).values()
                again = [with_trace(row, _told_by(row), self.counts) for row in rows]
                counted = [row for row in again if row["kind"] != OTHER]
                self._place(connection, counted, own_day=True)
                ledger_tables.upsert(connection, table, counted)
                self.tally.changed += len(counted)

    def _place(
        self, connection: sa.Connection, rows: Sequence[dict[str, Any]], *, own_day: bool = False
    ) -> None:
        """Assign each vote its own day or the open day; mark it late if its own day was settled.

        Args:
            own_day: never use the open day, because all votes of a reader's day are present.
        """
        votes = [row for row in rows if row["kind"] == "vote" and row["status"] == "open"]
        if not votes:
            return
        taken = _settled_days(connection, votes)
        for vote in votes:
            own = vote["timestamp_ms"] // DAY_MS
            vote["day"] = own
            if (vote["author"], vote["stream"], vote["reader"], own) in taken:
                vote["status"] = "late"
                self.tally.late += 1
            elif not own_day and self.closing == "daily" and (own + 1) * DAY_MS <= self.closed_ms:
                vote["day"] = self.closed_ms // DAY_MS

    def _forget_vanished(
        self, connection: sa.Connection, kind: str, seen: set[str], whole: tuple[int, int]
    ) -> None:
        table = ledger_tables.traces if kind == TRACES else ledger_tables.scores
        identity, moment = LISTED_BY[kind]
        inside = (moment >= whole[0]) & (moment < whole[1])
        if kind == SCORES:
            inside &= table.c.status != "deleted"
        held = connection.execute(sa.select(identity).where(inside)).scalars()
        vanished = [one for one in held if one not in seen]
        for chunk in ledger_tables.pieces(vanished, _CHUNK):
            if kind == TRACES:
                connection.execute(sa.delete(table).where(identity.in_(chunk)))
            else:
                gone = sa.update(table).where(identity.in_(chunk))
                connection.execute(gone.values(status="deleted", text=""))
        self.tally.deleted += len(vanished) if kind == SCORES else 0

    def remove_old(self, connection: sa.Connection, *, before_ms: int) -> None:
        """Remove rows past their retention, a limited number per call."""
        for identity, moment in LISTED_BY.values():
            old = sa.select(identity).where(moment < before_ms).limit(_OLD_AT_ONCE)
            connection.execute(sa.delete(identity.table).where(identity.in_(old)))


def put_feed(connection: sa.Connection, name: str, state: FeedState) -> None:
    """Store the position of a feed."""
    ledger_tables.upsert(connection, ledger_tables.feeds, [{"name": name, **vars(state)}])


def _told_by(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the trace's fields that a stored score holds, or None if its trace was unknown."""
    if not row["author"]:
        return None
    return {name: row[name] for name in ("author", "version", "prompt_class", "reader")}


def _says_the_same(former: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    if former["status"] == "deleted" or former["kind"] != row["kind"]:
        return False
    return former["value"] == row["value"] and former["text"] == row["text"]


def _by_id(
    connection: sa.Connection, table: sa.Table, name: str, ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return rows by id, without the texts of traces."""
    columns = [column for column in table.c if column.name not in ("question", "answer")]
    by_id: dict[str, dict[str, Any]] = {}
    for chunk in ledger_tables.pieces(ids, _CHUNK):
        rows = connection.execute(sa.select(*columns).where(table.c[name].in_(chunk)))
        by_id |= {row[name]: dict(row) for row in rows.mappings()}
    return by_id


def _settled_days(
    connection: sa.Connection, votes: Sequence[Mapping[str, Any]]
) -> set[tuple[str, str, str, int]]:
    """Return each settled (author, stream, reader, day) from the first to the last of the votes."""
    table = ledger_tables.settled
    days = {vote["timestamp_ms"] // DAY_MS for vote in votes}
    taken: set[tuple[str, str, str, int]] = set()
    for author, stream in {(vote["author"], vote["stream"]) for vote in votes}:
        rows = connection.execute(
            sa.select(table.c.unit, table.c.day).where(
                table.c.author == author,
                table.c.stream == stream,
                table.c.day >= min(days),
                table.c.day <= max(days),
            )
        )
        taken |= {(author, stream, str(reader), int(day)) for reader, day in rows}
    return taken
