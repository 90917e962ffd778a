"""Keep tombstones: hashes of the traces and scores that the outbox no longer accepts.

Scope: the hashes, their table, and removing what they name from an export or a score.
Out of scope: finding what to erase (`erasure/plan.py`), the outbox itself (`outbox.py`).
Method: a deletion kept as a row, so that a late write cannot undo it
(https://cassandra.apache.org/doc/latest/cassandra/managing/operating/compaction/tombstones.html).

An answer may run for minutes while its reader, its author or a post that it shows is forgotten; its
span is queued when it ends. The table is in the outbox's file and is read in the transaction that
queues, so no write can intervene. A reader or an author may return; their tombstone then applies
only to data that began before its `until`. A trace or a passage is excluded forever.
"""
# pyright: strict
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# The lines above are for protobuf's classes, which are created at run time.

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

from twin_resources.observability.trace_store.otlp import OtlpSpan, read_export

PROTOBUF_TYPE = "application/x-protobuf"
# `until` (Unix seconds): data that began later is accepted; NULL excludes all data.
TABLE = "CREATE TABLE IF NOT EXISTS tombstones (hash TEXT PRIMARY KEY, until REAL)"
_METADATA = "langfuse.observation.metadata.twin."
Kind = Literal["trace", "chunk", "reader", "author"]


def tombstone_hash(kind: Kind, name: str) -> str:
    """Return the SHA-256 of a trace id, chunk id, reader's digits or author's slug, in hex."""
    return hashlib.sha256(f"{kind}\x1f{name}".encode()).hexdigest()


def add_tombstones(connection: sqlite3.Connection, tombstones: Iterable[str]) -> None:
    """Exclude data under these tombstones from now on."""
    rows = [(one,) for one in tombstones]
    connection.executemany("INSERT OR REPLACE INTO tombstones VALUES (?, NULL)", rows)


def limit_tombstones(
    connection: sqlite3.Connection, tombstones: Iterable[str], *, until: float
) -> None:
    """Accept data under these tombstones again if it begins after `until` (Unix seconds)."""
    rows = [(until, one) for one in tombstones]
    connection.executemany("UPDATE tombstones SET until = ? WHERE hash = ?", rows)


def has_tombstones(connection: sqlite3.Connection) -> bool:
    """Return whether any tombstone exists."""
    return connection.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone() is not None


def read_spans(export: bytes) -> list[OtlpSpan]:
    """Return the spans of a gzipped protobuf export."""
    return read_export(export, content_type=PROTOBUF_TYPE, content_encoding="gzip")


def find_erased_traces(connection: sqlite3.Connection, export: bytes) -> set[str]:
    """Return ids of exported traces excluded by their own id, reader, author or a passage."""
    return {
        span.trace_id
        for span in read_spans(export)
        if is_buried(connection, _span_tombstones(span), started_at=span.start_ns / 1e9)
    }


def is_buried_score(connection: sqlite3.Connection, score: Mapping[str, Any]) -> bool:
    """Return whether a score is on an excluded trace or by an excluded reader.

    Args:
        score: the object of `POST /api/public/scores`. It counts as beginning now, so a returning
            reader's new score is accepted.
    """
    metadata: Mapping[str, Any] = score.get("metadata") or {}
    names = [
        tombstone_hash("trace", str(score.get("traceId"))),
        tombstone_hash("reader", str(metadata.get("twin.reader"))),
    ]
    return is_buried(connection, names, started_at=float("inf"))


def remove_traces(export: bytes, traces: Collection[str]) -> bytes | None:
    """Return the export without these traces, or None if nothing is left."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message: Any = ExportTraceServiceRequest.FromString(gzip.decompress(export))
    remaining_spans = 0
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            spans_left = [span for span in scope.spans if span.trace_id.hex() not in traces]
            del scope.spans[:]
            scope.spans.extend(spans_left)
            remaining_spans += len(spans_left)
    packed: bytes = gzip.compress(message.SerializeToString(), compresslevel=5, mtime=0)
    return packed if remaining_spans else None


def _span_tombstones(span: OtlpSpan) -> Iterator[str]:
    yield tombstone_hash("trace", span.trace_id)
    attributes = span.attributes
    for reader in {attributes.get("user.id"), attributes.get(f"{_METADATA}reader")} - {None, ""}:
        yield tombstone_hash("reader", str(reader))
    if author := attributes.get(f"{_METADATA}author"):
        yield tombstone_hash("author", str(author))
    chunks = attributes.get(f"{_METADATA}chunks") or ""
    listed = chunks if isinstance(chunks, str) else json.dumps(chunks)
    for part in listed.split(","):
        if chunk := part.strip(" []\"'"):
            yield tombstone_hash("chunk", chunk)


def is_buried(connection: sqlite3.Connection, names: Iterable[str], *, started_at: float) -> bool:
    """Return whether any of these tombstones applies to data that began then (Unix seconds)."""
    sql = "SELECT 1 FROM tombstones WHERE hash = ? AND (until IS NULL OR until > ?)"
    return any(connection.execute(sql, (name, started_at)).fetchone() for name in names)
