"""Store tombstones: hashes of the traces and scores that the outbox no longer accepts.

Scope: the hashes, their table, and removing the matching data from exports and scores.
Out of scope: finding the data to erase (`erasure/plan.py`), the outbox itself (`outbox.py`).
Method: a deletion is recorded as a row, so that a late write cannot undo it
(https://cassandra.apache.org/doc/latest/cassandra/managing/operating/compaction/tombstones.html).

An answer may run for minutes, and its span is queued when it ends. Meanwhile, the answer's reader,
author or a quoted post may be erased. The table is in the outbox's file and is read in the
transaction that queues data, so no write can intervene. A reader or an author may return; their
tombstone then applies only to data that began before its `until`. A trace or a passage is excluded
forever.
"""
# pyright: strict
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# These rules are off because protobuf creates its classes at run time.

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
    """Return the SHA-256 (hex) of a trace id, chunk id, reader's digits or author's slug."""
    return hashlib.sha256(f"{kind}\x1f{name}".encode()).hexdigest()


def add_tombstones(connection: sqlite3.Connection, tombstones: Iterable[str]) -> None:
    """Exclude data with these hashes from now on."""
    rows = [(tombstone,) for tombstone in tombstones]
    connection.executemany("INSERT OR REPLACE INTO tombstones VALUES (?, NULL)", rows)


def limit_tombstones(
    connection: sqlite3.Connection, tombstones: Iterable[str], *, until: float
) -> None:
    """Accept data with these hashes again if it begins after `until` (Unix seconds)."""
    rows = [(until, tombstone) for tombstone in tombstones]
    connection.executemany("UPDATE tombstones SET until = ? WHERE hash = ?", rows)


def has_tombstones(connection: sqlite3.Connection) -> bool:
    """Return whether any tombstone exists."""
    return connection.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone() is not None


def read_spans(export: bytes) -> list[OtlpSpan]:
    """Return the spans of a gzipped protobuf export."""
    return read_export(export, content_type=PROTOBUF_TYPE, content_encoding="gzip")


def find_erased_traces(connection: sqlite3.Connection, export: bytes) -> set[str]:
    """Return the ids of exported traces that are excluded by id, reader, author or passage."""
    return {
        span.trace_id
        for span in read_spans(export)
        if is_buried(connection, _span_tombstones(span), started_at=span.start_ns / 1e9)
    }


def is_buried_score(connection: sqlite3.Connection, score: Mapping[str, Any]) -> bool:
    """Return whether a score belongs to an excluded trace or an excluded reader.

    Args:
        score: the body of `POST /api/public/scores`. Its start time is now, so that the score of a
            returning reader is accepted.
    """
    metadata: Mapping[str, Any] = score.get("metadata") or {}
    names = [
        tombstone_hash("trace", str(score.get("traceId"))),
        tombstone_hash("reader", str(metadata.get("twin.reader"))),
    ]
    return is_buried(connection, names, started_at=float("inf"))


def remove_traces(export: bytes, traces: Collection[str]) -> bytes | None:
    """Return the export without these traces, or None if no spans remain."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message: Any = ExportTraceServiceRequest.FromString(gzip.decompress(export))
    span_count = 0
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            kept_spans = [span for span in scope.spans if span.trace_id.hex() not in traces]
            del scope.spans[:]
            scope.spans.extend(kept_spans)
            span_count += len(kept_spans)
    compressed_export: bytes = gzip.compress(message.SerializeToString(), compresslevel=5, mtime=0)
    return compressed_export if span_count else None


def _span_tombstones(span: OtlpSpan) -> Iterator[str]:
    yield tombstone_hash("trace", span.trace_id)
    attributes = span.attributes
    for reader in {attributes.get("user.id"), attributes.get(f"{_METADATA}reader")} - {None, ""}:
        yield tombstone_hash("reader", str(reader))
    if author := attributes.get(f"{_METADATA}author"):
        yield tombstone_hash("author", str(author))
    chunks = attributes.get(f"{_METADATA}chunks") or ""
    chunk_list = chunks if isinstance(chunks, str) else json.dumps(chunks)
    for entry in chunk_list.split(","):
        if chunk := entry.strip(" []\"'"):
            yield tombstone_hash("chunk", chunk)


def is_buried(connection: sqlite3.Connection, names: Iterable[str], *, started_at: float) -> bool:
    """Return whether a tombstone with one of these hashes applies to data of this start time.

    Args:
        started_at: start time in Unix seconds.
    """
    sql = "SELECT 1 FROM tombstones WHERE hash = ? AND (until IS NULL OR until > ?)"
    return any(connection.execute(sql, (name, started_at)).fetchone() for name in names)
