"""Keep scores and trace exports on disk until the trace store accepts them.

Scope: the SQLite file (one per machine, with a write-ahead log), its queued items, limits and
counts.
Out of scope: HTTP requests (`relay.py`), the meaning of scores (`ledger/`).
Method: the transactional outbox, https://microservices.io/patterns/data/transactional-outbox.html

The gateway writes this file directly, and the relay reads it. A receiver process between them would
lose traces whenever it was down. A row is committed before its caller gets a confirmation, so a
process that dies loses nothing.

A score is queued under its own id. A later score with that id replaces it, even while the earlier
one is being sent: the relay removes the row number that it sent, not the id. The trace store also
replaces by score id. The embedded store keeps each span id once, while Langfuse keeps every copy
(`relay.py` looks before it repeats). Erased data is never queued (`tombstones.py`), and an erasure
waits until no item is being sent. Traces have a size limit; the oldest are dropped first and
counted. Scores are never dropped: a full outbox refuses a new score with an error.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse import tombstones
from twin_resources.private_files import make_private_database
from twin_resources.settings import Settings
from twin_resources.storage.state.write_ahead import enable_write_ahead_log
from twin_resources.storage.storage_faults import classify_error, summarize_error

SCHEMA_VERSION = 2  # version 2 added tombstones
MAX_TRACE_BYTES = 256 * 1024 * 1024  # above this size, the oldest waiting traces are dropped
MAX_SCORES = 2_000_000  # about 1 GB; if so many scores wait, a new one is refused
# Short, because a reader waits for this write. The page resends a vote that is refused with 503.
BUSY_TIMEOUT_S = 10.0
# No reader waits for the relay, so it checkpoints the log; the gateway does so only as a fallback.
RELAY_CHECKPOINT_PAGES, GATEWAY_CHECKPOINT_PAGES = 1000, 20_000
ItemKind = Literal["score", "trace"]
# Sending order: readers' scores, then traces, then the gateway's own measurements.
_READER_PRIORITY, _TRACE_PRIORITY, _AUTOMATIC_PRIORITY = 0, 1, 2
_TABLES = f"""
CREATE TABLE IF NOT EXISTS waiting (
  number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL,
  turn INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, queued_at REAL NOT NULL,
  bytes INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (kind, id));
CREATE INDEX IF NOT EXISTS waiting_by_turn ON waiting (attempts, turn, number);
CREATE TABLE IF NOT EXISTS refused (
  number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, why TEXT NOT NULL,
  refused_at REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS words (name TEXT PRIMARY KEY, value TEXT NOT NULL, at REAL NOT NULL);
{tombstones.TABLE};
PRAGMA user_version = {SCHEMA_VERSION};
"""


class OutboxFullError(TwinError):
    """The outbox is full, because the trace store has been unavailable for a long time."""


class OutboxError(TwinError):
    """The outbox cannot be read or written (full disk, damaged file, newer version)."""


@dataclass(frozen=True)
class QueuedScore:
    """A score waiting to be sent.

    Attributes:
        id: a hash of the rated object and other identifying parts; a score with an equal id
            replaces this score.
        value: a number, or the text of a CORRECTION.
        data_type: `NUMERIC`, `BOOLEAN`, `CATEGORICAL`, `TEXT` or `CORRECTION`.
        environment: the Langfuse environment; empty means `default`.
        metadata: flat metadata. `twin.at` is the score's time, because the store records only the
            time of arrival.
    """

    id: str
    trace_id: str
    name: str
    value: float | str
    data_type: str = "NUMERIC"
    comment: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    environment: str = ""

    def body(self) -> dict[str, Any]:
        """Return the request body for `POST /api/public/scores`."""
        required_fields: dict[str, Any] = {
            "id": self.id,
            "traceId": self.trace_id,
            "name": self.name,
            "value": self.value,
            "dataType": self.data_type,
            "metadata": dict(self.metadata),
        }
        optional_fields = {"comment": self.comment, "environment": self.environment}
        return required_fields | {name: text for name, text in optional_fields.items() if text}


@dataclass(frozen=True)
class QueuedItem:
    """One item to send; `body` is a score as JSON or a gzipped OTLP protobuf export."""

    number: int
    kind: ItemKind
    id: str
    attempts: int
    body: bytes


@dataclass(frozen=True)
class OutboxCounts:
    """Counts of waiting, sent, dropped and refused items; times are Unix seconds.

    Attributes:
        scores, traces, trace_bytes: the number of waiting scores and traces, and the traces' size.
        oldest_at: the time at which the oldest waiting item was queued, or None if the queue is
            empty.
        sent_scores, sent_traces: the number of items that the trace store has accepted.
        dropped_traces: the number of traces dropped to free space, oldest first.
        refused: the number of items that the trace store will never accept; the table `refused`
            contains the reasons.
        problem, problem_at: the relay's last problem and its time; empty and None after a success.
    """

    scores: int
    traces: int
    trace_bytes: int
    oldest_at: float | None
    sent_scores: int
    sent_traces: int
    dropped_traces: int
    refused: int
    problem: str
    problem_at: float | None


def score_id(*parts: str) -> str:
    """Return a score id (32 hexadecimal digits) from the parts that identify the score."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def outbox_path(settings: Settings) -> Path:
    """Return the path of a home's outbox."""
    return settings.host_dir / "outbox.sqlite"


@contextmanager
def sending_lock(path: Path) -> Generator[None]:
    """Hold the relay's lock from reading an item until the trace store's response.

    When the next holder gets the lock, every earlier item has been sent or has failed.
    """
    with path.with_suffix(".sending").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class Outbox:
    """The outbox in one file; several threads and processes may use it.

    Args:
        path: the SQLite file; its folder is created.
        checkpoint_pages: the number of log pages at which a commit of this process also moves them
            into the file, with an fsync.

    Raises:
        OutboxError: the file cannot be opened, or a newer version wrote it.
    """

    def __init__(
        self,
        path: Path,
        *,
        checkpoint_pages: int = RELAY_CHECKPOINT_PAGES,
    ) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        make_private_database(path)
        with self._translate_errors("open the outbox"):
            self._connection = sqlite3.connect(
                path, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False
            )
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise OutboxError(
                    f"open the outbox {path}",
                    found=f"schema version {version}; this code reads up to {SCHEMA_VERSION}",
                    next_step="update llm-twin, or set a different home with TWIN_HOME",
                )
            enable_write_ahead_log(self._connection, timeout_s=BUSY_TIMEOUT_S)
            # Commits survive a killed process; a power cut may lose the latest commits.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
            if version < SCHEMA_VERSION:
                self._connection.executescript(_TABLES)

    def put_scores(self, scores: Iterable[QueuedScore], *, automatic: bool = False) -> None:
        """Queue scores in one transaction, replacing waiting scores with the same ids.

        Scores of erased traces or erased readers are omitted.

        Args:
            automatic: whether to send these scores after readers' scores and traces.

        Raises:
            OutboxFullError: too many scores are waiting; no score was queued.
            OutboxError: the disk is full or the file is damaged; no score was queued.
        """
        priority = _AUTOMATIC_PRIORITY if automatic else _READER_PRIORITY
        with self._write_transaction("queue a score") as connection:
            if self._count(connection, "score") >= MAX_SCORES:
                raise OutboxFullError(
                    "queue a score",
                    found=f"{MAX_SCORES:,} scores that the trace store has not accepted",
                    next_step="check the trace store and its keys: `twin status`",
                )
            has_tombstones = tombstones.has_tombstones(connection)
            for score in scores:
                if has_tombstones and tombstones.has_score_tombstone(connection, score.body()):
                    continue
                body = json.dumps(score.body(), ensure_ascii=False).encode()
                self._put(connection, "score", score.id, body, priority=priority)

    def put_trace(self, export: bytes) -> None:
        """Queue one gzipped OTLP export, and drop the oldest exports if there is no space.

        Erased traces are omitted. They get their own tombstones, so their later scores are omitted
        too.

        Raises:
            OutboxError: the disk is full or the file is damaged.
        """
        with self._write_transaction("queue a trace") as connection:
            if tombstones.has_tombstones(connection):
                erased_traces = tombstones.find_erased_traces(connection, export)
                tombstones.add_tombstones(
                    connection,
                    (tombstones.tombstone_hash("trace", trace) for trace in erased_traces),
                )
                remaining_export = (
                    tombstones.remove_traces(export, erased_traces) if erased_traces else export
                )
                if remaining_export is None:
                    return
                export = remaining_export
            export_id = hashlib.sha256(export).hexdigest()
            self._put(connection, "trace", export_id, export, priority=_TRACE_PRIORITY)
            while self._count(connection, "bytes") > MAX_TRACE_BYTES:
                oldest_row = connection.execute(
                    "SELECT number, bytes FROM waiting WHERE kind = 'trace' ORDER BY number LIMIT 1"
                ).fetchone()
                connection.execute("DELETE FROM waiting WHERE number = ?", (oldest_row[0],))
                self._increment_counts(connection, trace=-1, bytes=-oldest_row[1], dropped=1)

    def get_next_item(self) -> QueuedItem | None:
        """Return the next item to send, or None if the queue is empty.

        Items with fewer attempts come first, then by priority and age. An item that the store fails
        to process therefore does not block the others.
        """
        with self._read_connection() as connection:
            row = connection.execute(
                "SELECT number, kind, id, attempts, body FROM waiting "
                "ORDER BY attempts, turn, number LIMIT 1"
            ).fetchone()
        return QueuedItem(*row) if row else None

    def mark_sent(self, item: QueuedItem) -> None:
        """Record that the trace store has accepted the item."""
        with self._write_transaction("record a sent item") as connection:
            self._remove(connection, item)
            self._increment_counts(connection, **{f"sent_{item.kind}": 1})
            connection.execute("DELETE FROM words WHERE name = 'problem'")

    def record_failure(self, item: QueuedItem, reason: str) -> None:
        """Record a failed attempt to send the item."""
        with self._write_transaction("record a failure") as connection:
            connection.execute(
                "UPDATE waiting SET attempts = attempts + 1 WHERE number = ?", (item.number,)
            )
            connection.execute(
                "INSERT OR REPLACE INTO words VALUES ('problem', ?, ?)", (reason, time.time())
            )

    def mark_refused(self, item: QueuedItem, reason: str) -> None:
        """Set aside an item that the trace store will never accept, with the reason.

        The item's current row is set aside, unless it was erased or replaced while being sent.
        """
        with self._write_transaction("record a refusal") as connection:
            connection.execute(
                "INSERT OR REPLACE INTO refused "
                "SELECT number, kind, id, ?, ?, body FROM waiting WHERE number = ?",
                (reason, time.time(), item.number),
            )
            self._remove(connection, item)

    def counts(self) -> OutboxCounts:
        """Return the counts of waiting, sent, dropped and refused items."""
        with self._read_connection() as connection:
            totals: dict[str, int] = dict(connection.execute("SELECT name, value FROM counts"))
            oldest_at = connection.execute("SELECT MIN(queued_at) FROM waiting").fetchone()[0]
            refused_count = connection.execute("SELECT COUNT(*) FROM refused").fetchone()[0]
            problem_row = connection.execute("SELECT value, at FROM words WHERE name = 'problem'")
            problem, problem_at = problem_row.fetchone() or ("", None)
        return OutboxCounts(
            scores=totals.get("score", 0),
            traces=totals.get("trace", 0),
            trace_bytes=totals.get("bytes", 0),
            oldest_at=oldest_at,
            sent_scores=totals.get("sent_score", 0),
            sent_traces=totals.get("sent_trace", 0),
            dropped_traces=totals.get("dropped", 0),
            refused=refused_count,
            problem=problem,
            problem_at=problem_at,
        )

    def count_tombstones(self) -> int:
        """Return the number of tombstones."""
        with self._read_connection() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM tombstones").fetchone()[0])

    def has_tombstone(self, hashes: Iterable[str], *, started_at: float) -> bool:
        """Return whether a stored tombstone covers data that started at `started_at`.

        Args:
            hashes: the tombstone hashes to look for.
            started_at: the start time, in Unix seconds.
        """
        with self._read_connection() as connection:
            return tombstones.has_matching_tombstone(connection, hashes, started_at=started_at)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _put(
        self,
        connection: sqlite3.Connection,
        kind: ItemKind,
        item_id: str,
        body: bytes,
        *,
        priority: int,
    ) -> None:
        replaced_rows = connection.execute(
            "DELETE FROM waiting WHERE kind = ? AND id = ? RETURNING bytes", (kind, item_id)
        ).fetchall()
        connection.execute(
            "INSERT INTO waiting (kind, id, turn, queued_at, bytes, body) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (kind, item_id, priority, time.time(), len(body), body),
        )
        amounts = {kind: 1 - len(replaced_rows)}
        if kind == "trace":
            amounts["bytes"] = len(body) - sum(row[0] for row in replaced_rows)
        self._increment_counts(connection, **amounts)

    def _remove(self, connection: sqlite3.Connection, item: QueuedItem) -> None:
        # Delete by row number, so that a replacement queued in the meantime stays.
        cursor = connection.execute("DELETE FROM waiting WHERE number = ?", (item.number,))
        if cursor.rowcount:
            size = {"bytes": -len(item.body)} if item.kind == "trace" else {}
            self._increment_counts(connection, **{item.kind: -1, **size})

    def _count(self, connection: sqlite3.Connection, name: str) -> int:
        row = connection.execute("SELECT value FROM counts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _increment_counts(self, connection: sqlite3.Connection, **amounts: int) -> None:
        connection.executemany(
            "INSERT INTO counts VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            list(amounts.items()),
        )

    @contextmanager
    def _write_transaction(self, action: str) -> Generator[sqlite3.Connection]:
        with self._translate_errors(f"{action} in the outbox"), self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _read_connection(self) -> Generator[sqlite3.Connection]:
        with self._translate_errors("read the outbox"), self._lock:
            yield self._connection

    @contextmanager
    def _translate_errors(self, action: str) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            action = f"{action} {self.path}"
            error_class = classify_error(error, self.path)
            storage_error = (
                error_class.for_place(self.path, action, summarize_error(error))
                if error_class
                else None
            )
            raise OutboxError(
                action,
                found=storage_error.found if storage_error else str(error),
                next_step=storage_error.next_step
                if storage_error
                else "report this error with the version of llm-twin",
            ) from error
