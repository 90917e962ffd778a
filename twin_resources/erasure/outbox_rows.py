"""Erase from the store `outbox`: traces and scores that the trace store has not accepted yet.

Scope: removing spans from waiting exports, and removing scores. Out of scope: the outbox itself
(`langfuse/outbox.py`), data already sent (`trace_store.py`).

An export contains the spans of all authors and readers from half a second. An erasure stores it
again under the same number with the remaining spans. Answers in progress end after the
erasure, so it writes tombstones, and the outbox omits spans and scores that they match. The erasure
waits until the relay has sent its current item, so that the trace store, which is erased next,
contains that item.
"""
# pyright: strict

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import find_in_file
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.sqlite_files import open_for_erasure, rewrite_database
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path, sending_lock
from twin_resources.observability.langfuse.tombstones import (
    add_tombstones,
    limit_tombstones,
    read_spans,
    remove_traces,
    tombstone_hash,
)
from twin_resources.observability.trace_store.otlp import OtlpSpan


@dataclass(frozen=True)
class OutboxRows:
    """The home's outbox."""

    installation: Installation
    name: str = "outbox"

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        path = outbox_path(self.installation.settings)
        if not path.is_file():
            return 0
        Outbox(path).close()  # adds the tombstones table to an old file
        with open_for_erasure(path) as connection:
            connection.execute("BEGIN IMMEDIATE")  # an error closes the file, which rolls back
            erased_count, traces = 0, set(target.traces)
            for table in ("waiting", "refused"):
                erased_traces = _erase_traces(connection, table, target)
                erased_count, traces = erased_count + len(erased_traces), traces | erased_traces
            for table in ("waiting", "refused"):
                erased_count += _erase_scores(connection, table, target, traces)
            erased_count += connection.execute("DELETE FROM words").rowcount  # servers' messages
            add_tombstones(connection, _list_tombstones(target, traces))
            _update_counts(connection)
            connection.execute("COMMIT")
        with sending_lock(path):
            rewrite_database(path)
        return erased_count

    def limit_tombstones(self, target: ErasureTarget, *, until: float) -> None:
        """Limit the tombstones of a reader or author, who may return, to data before `until`."""
        path = outbox_path(self.installation.settings)
        if path.is_file():
            with open_for_erasure(path) as connection:
                limit_tombstones(connection, _make_person_tombstones(target), until=until)

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`."""
        path = outbox_path(self.installation.settings)
        if not path.is_file():
            return []
        locations = find_in_file(path, target)
        with open_for_erasure(path) as connection:
            for table in ("waiting", "refused"):
                for number, kind, body in _read_rows(connection, table):
                    if kind == "trace" and any(
                        span_contains_target(span, target) for span in read_spans(body)
                    ):
                        locations.append(f"{table} {number}")
        return locations


def span_contains_target(span: OtlpSpan, target: ErasureTarget) -> bool:
    """Return whether a span belongs to an erased trace or contains erased data."""
    return target.matches_identifier(span.trace_id) or target.matches_value(dict(span.attributes))


def _list_tombstones(target: ErasureTarget, traces: set[str]) -> list[str]:
    hashes = [tombstone_hash("trace", trace) for trace in sorted(traces)]
    if target.subject.kind == "post":
        hashes += [tombstone_hash("chunk", chunk) for chunk in sorted(target.chunks)]
    return hashes + _make_person_tombstones(target)


def _make_person_tombstones(target: ErasureTarget) -> list[str]:
    if target.subject.kind == "author":
        return [tombstone_hash("author", target.author)]
    return (
        [tombstone_hash("reader", target.subject.name)] if target.subject.kind == "reader" else []
    )


def _read_rows(connection: sqlite3.Connection, table: str) -> list[tuple[int, str, bytes]]:
    return connection.execute(f"SELECT number, kind, body FROM {table}").fetchall()


def _erase_traces(connection: sqlite3.Connection, table: str, target: ErasureTarget) -> set[str]:
    """Remove matching traces from the exports; return their ids."""
    erased_traces: set[str] = set()
    for number, kind, body in _read_rows(connection, table):
        spans = read_spans(body) if kind == "trace" else []
        traces = {span.trace_id for span in spans if span_contains_target(span, target)}
        if not traces:
            continue
        erased_traces |= traces
        remaining_body = remove_traces(body, traces)
        if remaining_body is None:
            connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
        else:
            sql = f"UPDATE {table} SET body = ? WHERE number = ?"
            connection.execute(sql, (remaining_body, number))
    return erased_traces


def _erase_scores(
    connection: sqlite3.Connection, table: str, target: ErasureTarget, traces: set[str]
) -> int:
    erased_count = 0
    for number, kind, body in _read_rows(connection, table):
        if kind != "score":
            continue
        score = json.loads(body)
        if score.get("traceId") in traces or target.matches_value(score):
            connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
            erased_count += 1
    return erased_count


def _update_counts(connection: sqlite3.Connection) -> None:
    """Recompute the sizes and the counts of the waiting items."""
    connection.execute("UPDATE waiting SET bytes = LENGTH(body)")
    for name, count_query in (
        ("score", "SELECT COUNT(*) FROM waiting WHERE kind = 'score'"),
        ("trace", "SELECT COUNT(*) FROM waiting WHERE kind = 'trace'"),
        ("bytes", "SELECT COALESCE(SUM(bytes), 0) FROM waiting WHERE kind = 'trace'"),
    ):
        value = connection.execute(count_query).fetchone()[0]
        connection.execute("INSERT OR REPLACE INTO counts VALUES (?, ?)", (name, value))
