"""Tombstones: whose traces and scores the outbox takes no longer, known by hashes alone.

Scope: the hashes, their table, and leaving what they name out of an export or a score.
Out of scope: finding what is gone (`erasure/plan.py`), the outbox itself (`outbox.py`).
Method: a deletion that is kept as a row, so that a late write cannot undo it
(https://cassandra.apache.org/doc/latest/cassandra/managing/operating/compaction/tombstones.html).

An answer may be under way for minutes while its reader, its author or a post that it shows is
forgotten; its span is queued when it ends. The table lies in the outbox's file and is read in the
transaction that queues, so nothing comes between. A reader or an author may come back: their
tombstone then counts for what began before it. A trace or a passage never comes back.
"""
# pyright: strict
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# The lines above are for protobuf's classes, which are made at run time.

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

from twin_resources.observability.trace_store.otlp import OtlpSpan, read_export

PROTOBUF = "application/x-protobuf"
# `until`: Unix seconds; what began later is taken again. NULL: nothing is.
TABLE = "CREATE TABLE IF NOT EXISTS tombstones (hash TEXT PRIMARY KEY, until REAL)"
_METADATA = "langfuse.observation.metadata.twin."
Kind = Literal["trace", "chunk", "reader", "author"]


def tombstone(kind: Kind, name: str) -> str:
    """The hash of a trace id, chunk id, reader's digits or author's slug: 64 hexadecimal digits."""
    return hashlib.sha256(f"{kind}\x1f{name}".encode()).hexdigest()


def bury(connection: sqlite3.Connection, tombstones: Iterable[str]) -> None:
    """From now on nothing of these is taken."""
    rows = [(one,) for one in tombstones]
    connection.executemany("INSERT OR REPLACE INTO tombstones VALUES (?, NULL)", rows)


def end_at(connection: sqlite3.Connection, tombstones: Iterable[str], *, until: float) -> None:
    """What begins after `until` (Unix seconds) is taken again."""
    rows = [(until, one) for one in tombstones]
    connection.executemany("UPDATE tombstones SET until = ? WHERE hash = ?", rows)


def is_any(connection: sqlite3.Connection) -> bool:
    """Whether there is anything to look for."""
    return connection.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone() is not None


def spans_of(export: bytes) -> list[OtlpSpan]:
    """The spans of a gzipped protobuf export."""
    return read_export(export, content_type=PROTOBUF, content_encoding="gzip")


def buried_traces(connection: sqlite3.Connection, export: bytes) -> set[str]:
    """Ids of the traces in an export that a tombstone names, or whose reader, author or passage."""
    return {
        span.trace_id
        for span in spans_of(export)
        if is_buried(connection, _names_of(span), began=span.start_ns / 1e9)
    }


def is_buried_score(connection: sqlite3.Connection, score: Mapping[str, Any]) -> bool:
    """Whether a score is on a trace, or by a reader, that is gone.

    Args:
        score: the object of `POST /api/public/scores`. It begins now: a reader's new one counts.
    """
    facts: Mapping[str, Any] = score.get("metadata") or {}
    names = [
        tombstone("trace", str(score.get("traceId"))),
        tombstone("reader", str(facts.get("twin.reader"))),
    ]
    return is_buried(connection, names, began=float("inf"))


def without_traces(export: bytes, traces: Collection[str]) -> bytes | None:
    """The export without some traces; None: nothing is left."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message: Any = ExportTraceServiceRequest.FromString(gzip.decompress(export))
    left = 0
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            spans_left = [span for span in scope.spans if span.trace_id.hex() not in traces]
            del scope.spans[:]
            scope.spans.extend(spans_left)
            left += len(spans_left)
    packed: bytes = gzip.compress(message.SerializeToString(), compresslevel=5, mtime=0)
    return packed if left else None


def _names_of(span: OtlpSpan) -> Iterator[str]:
    yield tombstone("trace", span.trace_id)
    attributes = span.attributes
    for reader in {attributes.get("user.id"), attributes.get(f"{_METADATA}reader")} - {None, ""}:
        yield tombstone("reader", str(reader))
    if author := attributes.get(f"{_METADATA}author"):
        yield tombstone("author", str(author))
    shown = attributes.get(f"{_METADATA}chunks") or ""
    listed = shown if isinstance(shown, str) else json.dumps(shown)
    for part in listed.split(","):
        if chunk := part.strip(" []\"'"):
            yield tombstone("chunk", chunk)


def is_buried(connection: sqlite3.Connection, names: Iterable[str], *, began: float) -> bool:
    """Whether one of these tombstones is there and counts for what began then (Unix seconds)."""
    sql = "SELECT 1 FROM tombstones WHERE hash = ? AND (until IS NULL OR until > ?)"
    return any(connection.execute(sql, (name, began)).fetchone() for name in names)
