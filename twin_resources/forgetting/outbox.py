"""The place `outbox`: traces and scores that the trace store has not taken yet, or refused.

Belongs here: taking spans out of exports that wait, and scores. Does not belong here: the outbox
itself (`langfuse/outbox.py`), what it already sent (`trace_store.py`).

An export holds the spans of half a second, of any authors and readers: those that stay are packed
again under the same number.
"""
# pyright: strict
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# The lines above are for protobuf's classes, which are made at run time.

from __future__ import annotations

import gzip
import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from twin_resources.forgetting.decoding import held_in
from twin_resources.forgetting.gone import Gone
from twin_resources.forgetting.places import Instance
from twin_resources.forgetting.sqlite_files import opened, rewrite
from twin_resources.langfuse.otlp import Span, read_export
from twin_resources.langfuse.outbox import outbox_path

PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class WaitingInOutbox:
    """The outbox of the home."""

    instance: Instance
    name: str = "outbox"

    def erase(self, gone: Gone) -> int:
        """See `Place.erase`."""
        path = outbox_path(self.instance.settings)
        if not path.is_file():
            return 0
        with opened(path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                erased, traces = 0, set(gone.traces)
                for table in ("waiting", "refused"):
                    found = _clean_traces(connection, table, gone)
                    erased, traces = erased + len(found), traces | found
                for table in ("waiting", "refused"):
                    erased += _clean_scores(connection, table, gone, traces)
                erased += connection.execute("DELETE FROM words").rowcount  # messages of servers
                _count_again(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        rewrite(path)
        return erased

    def holds(self, gone: Gone) -> list[str]:
        """See `Place.holds`."""
        path = outbox_path(self.instance.settings)
        if not path.is_file():
            return []
        found = [where] if (where := held_in(path, gone)) else []
        with opened(path) as connection:
            for table in ("waiting", "refused"):
                for number, kind, body in _rows(connection, table):
                    if kind == "trace" and any(span_holds(span, gone) for span in _spans(body)):
                        found.append(f"{table} {number}")
        return found


def span_holds(span: Span, gone: Gone) -> bool:
    """Whether a span is of a trace that is gone, or says something of it."""
    return gone.is_value(span.trace_id) or gone.is_among(dict(span.attributes))


def _rows(connection: sqlite3.Connection, table: str) -> list[tuple[int, str, bytes]]:
    return connection.execute(f"SELECT number, kind, body FROM {table}").fetchall()


def _spans(body: bytes) -> list[Span]:
    return read_export(body, content_type=PROTOBUF, content_encoding="gzip")


def _clean_traces(connection: sqlite3.Connection, table: str, gone: Gone) -> set[str]:
    """Take spans out of the exports; returns their traces."""
    erased: set[str] = set()
    for number, kind, body in _rows(connection, table):
        spans = _spans(body) if kind == "trace" else []
        traces = {span.trace_id for span in spans if span_holds(span, gone)}
        if not traces:
            continue
        erased |= traces
        left = _without(body, traces)
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


def _clean_scores(connection: sqlite3.Connection, table: str, gone: Gone, traces: set[str]) -> int:
    erased = 0
    for number, kind, body in _rows(connection, table):
        if kind != "score":
            continue
        score = json.loads(body)
        if score.get("traceId") in traces or gone.is_among(score):
            connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
            erased += 1
    return erased


def _without(body: bytes, traces: set[str]) -> bytes | None:
    """The export without some traces; None: nothing is left."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    export: Any = ExportTraceServiceRequest.FromString(gzip.decompress(body))
    left = 0
    for resource in export.resource_spans:
        for scope in resource.scope_spans:
            kept = [span for span in scope.spans if span.trace_id.hex() not in traces]
            del scope.spans[:]
            scope.spans.extend(kept)
            left += len(kept)
    packed: bytes = gzip.compress(export.SerializeToString(), compresslevel=5, mtime=0)
    return packed if left else None


def _count_again(connection: sqlite3.Connection) -> None:
    """The counts that the outbox keeps of what waits."""
    for name, counted in (
        ("score", "SELECT COUNT(*) FROM waiting WHERE kind = 'score'"),
        ("trace", "SELECT COUNT(*) FROM waiting WHERE kind = 'trace'"),
        ("bytes", "SELECT COALESCE(SUM(bytes), 0) FROM waiting WHERE kind = 'trace'"),
    ):
        value = connection.execute(counted).fetchone()[0]
        connection.execute("INSERT OR REPLACE INTO counts VALUES (?, ?)", (name, value))
