"""The store `outbox`: erase traces and scores that the trace store has not accepted or has refused.

Scope: removing spans from waiting exports, and removing scores. Out of scope: the outbox itself
(`langfuse/outbox.py`), data already sent (`trace_store.py`).

An export holds half a second of spans from any authors and readers; the remaining spans are packed
again under the same number. Answers in progress end later, so tombstones are written first: the
outbox leaves out what they name. The erasure waits for the relay to finish the item that it is
sending, so that the trace store, which is erased next, has it.
"""
# pyright: strict

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import held_in
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.sqlite_files import opened, rewrite
from twin_resources.observability.langfuse.outbox import Outbox, on_its_way, outbox_path
from twin_resources.observability.langfuse.tombstones import (
    bury,
    end_at,
    spans_of,
    tombstone,
    without_traces,
)
from twin_resources.observability.trace_store.otlp import OtlpSpan


@dataclass(frozen=True)
class WaitingInOutbox:
    """The home's outbox."""

    instance: Installation
    name: str = "outbox"

    def erase(self, gone: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        path = outbox_path(self.instance.settings)
        if not path.is_file():
            return 0
        Outbox(path).close()  # adds the tombstones table to an old file
        with opened(path) as connection:
            connection.execute("BEGIN IMMEDIATE")  # an error closes the file, which rolls back
            erased, traces = 0, set(gone.traces)
            for table in ("waiting", "refused"):
                count = _clean_traces(connection, table, gone)
                erased, traces = erased + len(count), traces | count
            for table in ("waiting", "refused"):
                erased += _clean_scores(connection, table, gone, traces)
            erased += connection.execute("DELETE FROM words").rowcount  # servers' messages
            bury(connection, _tombstones_of(gone, traces))
            _count_again(connection)
            connection.execute("COMMIT")
        with on_its_way(path):
            rewrite(path)
        return erased

    def take_again(self, gone: ErasureTarget, *, until: float) -> None:
        """Accept a returning reader or author again; drop only what began before `until`."""
        path = outbox_path(self.instance.settings)
        if path.is_file():
            with opened(path) as connection:
                end_at(connection, _people_of(gone), until=until)

    def holds(self, gone: ErasureTarget) -> list[str]:
        """See `DataStore.holds`."""
        path = outbox_path(self.instance.settings)
        if not path.is_file():
            return []
        places = [where] if (where := held_in(path, gone)) else []
        with opened(path) as connection:
            for table in ("waiting", "refused"):
                for number, kind, body in _rows(connection, table):
                    if kind == "trace" and any(span_holds(span, gone) for span in spans_of(body)):
                        places.append(f"{table} {number}")
        return places


def span_holds(span: OtlpSpan, gone: ErasureTarget) -> bool:
    """Return whether a span belongs to an erased trace or holds erased data."""
    return gone.is_value(span.trace_id) or gone.is_among(dict(span.attributes))


def _tombstones_of(gone: ErasureTarget, traces: set[str]) -> list[str]:
    named = [tombstone("trace", trace) for trace in sorted(traces)]
    if gone.subject.kind == "post":
        named += [tombstone("chunk", chunk) for chunk in sorted(gone.chunks)]
    return named + _people_of(gone)


def _people_of(gone: ErasureTarget) -> list[str]:
    if gone.subject.kind == "author":
        return [tombstone("author", gone.author)]
    return [tombstone("reader", gone.subject.name)] if gone.subject.kind == "reader" else []


def _rows(connection: sqlite3.Connection, table: str) -> list[tuple[int, str, bytes]]:
    return connection.execute(f"SELECT number, kind, body FROM {table}").fetchall()


def _clean_traces(connection: sqlite3.Connection, table: str, gone: ErasureTarget) -> set[str]:
    """Remove matching traces from the exports; return their ids."""
    erased: set[str] = set()
    for number, kind, body in _rows(connection, table):
        spans = spans_of(body) if kind == "trace" else []
        traces = {span.trace_id for span in spans if span_holds(span, gone)}
        if not traces:
            continue
        erased |= traces
        left = without_traces(body, traces)
        if left is None:
            connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
        elif table == "waiting":
            connection.execute(
                "UPDATE waiting SET body = ?, bytes = ? WHERE number = ?",
                (left, len(left), number),
            )
        else:
            connection.execute("UPDATE refused SET body = ? WHERE number = ?", (left, number))
    return erased


def _clean_scores(
    connection: sqlite3.Connection, table: str, gone: ErasureTarget, traces: set[str]
) -> int:
    erased = 0
    for number, kind, body in _rows(connection, table):
        if kind != "score":
            continue
        score = json.loads(body)
        if score.get("traceId") in traces or gone.is_among(score):
            connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
            erased += 1
    return erased


def _count_again(connection: sqlite3.Connection) -> None:
    """Recompute the outbox's counts of waiting items."""
    for name, counted in (
        ("score", "SELECT COUNT(*) FROM waiting WHERE kind = 'score'"),
        ("trace", "SELECT COUNT(*) FROM waiting WHERE kind = 'trace'"),
        ("bytes", "SELECT COALESCE(SUM(bytes), 0) FROM waiting WHERE kind = 'trace'"),
    ):
        value = connection.execute(counted).fetchone()[0]
        connection.execute("INSERT OR REPLACE INTO counts VALUES (?, ?)", (name, value))
