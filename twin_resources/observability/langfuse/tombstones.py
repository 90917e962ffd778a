"""Keep tombstones: hashes that identify erased data, which the outbox no longer accepts.

Scope: the hashes, their table, and applying them to exports and scores.
Out of scope: finding the data to erase (`erasure/plan.py`), the outbox itself (`outbox.py`).
Method: a row that records a deletion, so that a late write cannot undo it
(https://cassandra.apache.org/doc/latest/cassandra/managing/operating/compaction/tombstones.html).

An answer may take minutes, and its reader, its author or a quoted post may be erased in that time.
Its span is queued only when the answer ends. The table is in the outbox's file. The transaction
that queues data also reads the table, so no other write can come between them. A reader or an
author may return; their tombstone then covers only data that started before its `until`. A trace or
a passage stays excluded.
"""
# pyright: strict
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# The lines above are needed because protobuf creates its classes at run time.

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

from twin_resources.observability.trace_store.otlp import OtlpSpan, read_export

PROTOBUF_TYPE = "application/x-protobuf"
# `until` (Unix seconds): data that started later is accepted; NULL excludes all data.
TABLE = "CREATE TABLE IF NOT EXISTS tombstones (hash TEXT PRIMARY KEY, until REAL)"
_METADATA_PREFIX = "langfuse.observation.metadata.twin."
SubjectKind = Literal["trace", "chunk", "reader", "author"]


def tombstone_hash(kind: SubjectKind, identifier: str) -> str:
    """Return the hexadecimal SHA-256 hash of a trace id, chunk id, reader id or author slug."""
    return hashlib.sha256(f"{kind}\x1f{identifier}".encode()).hexdigest()


def add_tombstones(connection: sqlite3.Connection, tombstones: Iterable[str]) -> None:
    """Add tombstones without an end time."""
    rows = [(tombstone,) for tombstone in tombstones]
    connection.executemany("INSERT OR REPLACE INTO tombstones VALUES (?, NULL)", rows)


def limit_tombstones(
    connection: sqlite3.Connection, tombstones: Iterable[str], *, until: float
) -> None:
    """Limit these tombstones to data that started before `until` (Unix seconds)."""
    rows = [(until, tombstone) for tombstone in tombstones]
    connection.executemany("UPDATE tombstones SET until = ? WHERE hash = ?", rows)


def has_tombstones(connection: sqlite3.Connection) -> bool:
    """Return whether any tombstone exists."""
    return connection.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone() is not None


def read_spans(export: bytes) -> list[OtlpSpan]:
    """Return the spans of a gzipped protobuf export."""
    return read_export(export, content_type=PROTOBUF_TYPE, content_encoding="gzip")


def find_erased_traces(connection: sqlite3.Connection, export: bytes) -> set[str]:
    """Return the ids of exported traces that a tombstone excludes.

    The tombstone may be for the trace, its reader, its author or a passage.
    """
    return {
        span.trace_id
        for span in read_spans(export)
        if has_matching_tombstone(
            connection, _span_tombstones(span), started_at=span.start_ns / 1e9
        )
    }


def has_score_tombstone(connection: sqlite3.Connection, score: Mapping[str, Any]) -> bool:
    """Return whether a tombstone excludes a score's trace or reader.

    Args:
        score: the request body of `POST /api/public/scores`. The score counts as new, so the score
            of a reader who has returned is accepted.
    """
    metadata: Mapping[str, Any] = score.get("metadata") or {}
    hashes = [
        tombstone_hash("trace", str(score.get("traceId"))),
        tombstone_hash("reader", str(metadata.get("twin.reader"))),
    ]
    return has_matching_tombstone(connection, hashes, started_at=float("inf"))


def remove_traces(export: bytes, traces: Collection[str]) -> bytes | None:
    """Return the export without these traces, or None if no spans remain."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message: Any = ExportTraceServiceRequest.FromString(gzip.decompress(export))
    remaining_count = 0
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            remaining_spans = [span for span in scope.spans if span.trace_id.hex() not in traces]
            del scope.spans[:]
            scope.spans.extend(remaining_spans)
            remaining_count += len(remaining_spans)
    compressed: bytes = gzip.compress(message.SerializeToString(), compresslevel=5, mtime=0)
    return compressed if remaining_count else None


def _span_tombstones(span: OtlpSpan) -> Iterator[str]:
    """Yield the tombstone hashes of a span's trace, reader, author and passages."""
    yield tombstone_hash("trace", span.trace_id)
    attributes = span.attributes
    readers = {attributes.get("user.id"), attributes.get(f"{_METADATA_PREFIX}reader")}
    for reader in readers - {None, ""}:
        yield tombstone_hash("reader", str(reader))
    if author := attributes.get(f"{_METADATA_PREFIX}author"):
        yield tombstone_hash("author", str(author))
    for chunk in list_chunk_ids(attributes.get(f"{_METADATA_PREFIX}chunks")):
        yield tombstone_hash("chunk", chunk)


def list_chunk_ids(chunks: object) -> list[str]:
    """Return the ids in a trace's `chunks`: a list, or its text with commas between the ids."""
    text = chunks if isinstance(chunks, str) else json.dumps(chunks or "")
    return [chunk for part in text.split(",") if (chunk := part.strip(" []\"'"))]


def has_matching_tombstone(
    connection: sqlite3.Connection, hashes: Iterable[str], *, started_at: float
) -> bool:
    """Return whether a stored tombstone covers data that started at `started_at`.

    Args:
        hashes: the tombstone hashes to look for.
        started_at: the start time, in Unix seconds.
    """
    sql = "SELECT 1 FROM tombstones WHERE hash = ? AND (until IS NULL OR until > ?)"
    return any(connection.execute(sql, (tombstone, started_at)).fetchone() for tombstone in hashes)
