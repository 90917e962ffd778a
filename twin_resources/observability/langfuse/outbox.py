"""Keep scores and trace exports on disk until the trace store has them.

Scope: one SQLite file per machine (write-ahead log), its waiting items, its bounds and counts.
Out of scope: HTTP (`relay.py`), what a score means (`ledger/`).
Method: the transactional outbox, https://microservices.io/patterns/data/transactional-outbox.html

The gateway writes this file itself, and the relay reads it; a receiver on the loopback between them
would lose a trace whenever it was down. A row is committed before its caller gets a confirmation,
so the death of any process loses nothing.

A score is queued under its own id. A later score with that id replaces it, even while the former is
being sent, because the sender removes the number it sent, not the id. The trace store also replaces
by score id and by span id, so an item sent twice is stored once. Forgotten data is left out of what
is queued (`tombstones.py`), and an erasure waits until no item is being sent. Traces are bounded by
bytes; the oldest are dropped first and counted. Scores are never dropped: a full outbox refuses the
new score with an error.
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
from twin_resources.storage.state.write_ahead import use_write_ahead_log
from twin_resources.storage.storage_faults import classify_error, summarize_error

SCHEMA = 2  # version 2 added tombstones
MAX_TRACE_BYTES = 256 * 1024 * 1024
MAX_SCORES = 2_000_000  # about 1 GB
# A reader waits for this write; a vote refused with 503 is sent again.
BUSY_TIMEOUT_S = 10.0
# The relay, which nobody waits for, moves the log into the file; the gateway is the fallback.
RELAY_CHECKPOINT_PAGES, GATEWAY_CHECKPOINT_PAGES = 1000, 20_000
Kind = Literal["score", "trace"]
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
PRAGMA user_version = {SCHEMA};
"""


class OutboxFullError(TwinError):
    """No space is left for another score, because the trace store has been unavailable for long."""


class OutboxError(TwinError):
    """The file cannot be read or written (full disk, damaged file, newer version)."""


@dataclass(frozen=True)
class QueuedScore:
    """A score waiting to be sent.

    Attributes:
        id: derived from what the score rates, so that a repetition replaces it.
        value: a number, or the text of a CORRECTION.
        data_type: `NUMERIC`, `BOOLEAN`, `CATEGORICAL`, `TEXT` or `CORRECTION`.
        environment: Langfuse's separation of data; empty means `default`.
        metadata: flat; its time (`twin.at`) is fixed here, because the store stamps arrivals.
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
        """Return the object for `POST /api/public/scores`."""
        posted: dict[str, Any] = {
            "id": self.id,
            "traceId": self.trace_id,
            "name": self.name,
            "value": self.value,
            "dataType": self.data_type,
            "metadata": dict(self.metadata),
        }
        fields = {"comment": self.comment, "environment": self.environment}
        return posted | {name: text for name, text in fields.items() if text}


@dataclass(frozen=True)
class QueuedItem:
    """One item to send; `body` is a score's JSON, or a gzipped OTLP protobuf export."""

    number: int
    kind: Kind
    id: str
    attempts: int
    queued_at: float
    body: bytes


@dataclass(frozen=True)
class OutboxCounts:
    """Counts of waiting, sent, dropped and refused items; times are Unix seconds.

    Attributes:
        scores, traces, trace_bytes: waiting now.
        oldest_at: when the oldest waiting item was queued, or None if nothing waits.
        sent_scores, sent_traces: accepted by the trace store so far.
        dropped_traces: dropped to free space, oldest first.
        refused: kept aside because the trace store will never accept them (`Outbox.list_refused_items`).
        problem, problem_at: the relay's last problem; empty after a success.
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
    """Return a score's id (32 hexadecimal digits) from the parts that identify it."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def outbox_path(settings: Settings) -> Path:
    """Return the path of a home's outbox."""
    return settings.home / "outbox.sqlite"


@contextmanager
def sending_lock(path: Path) -> Generator[None]:
    """Hold the relay's lock while one item is sent, from reading it to the answer.

    A later holder of the lock can rely on this: each item read earlier has arrived or failed.
    """
    with path.with_suffix(".sending").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class Outbox:
    """The outbox in one file; safe to use from several threads and processes.

    Args:
        path: the SQLite file; its folder is created.
        most_trace_bytes: above this size the oldest traces are dropped.
        most_scores: above this number `put_scores` refuses.
        checkpoint_pages: number of log pages at which a commit of this process also moves them into
            the file, with an fsync.

    Raises:
        OutboxError: the file cannot be opened, or a newer version wrote it.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_trace_bytes: int = MAX_TRACE_BYTES,
        max_scores: int = MAX_SCORES,
        checkpoint_pages: int = RELAY_CHECKPOINT_PAGES,
    ) -> None:
        self.path = path
        self._max_trace_bytes = max_trace_bytes
        self._max_scores = max_scores
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        make_private_database(path)
        with self._translate_errors("open"):
            self._connection = sqlite3.connect(
                path, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False
            )
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA:
                raise OutboxError(
                    f"open the outbox {path}",
                    found=f"schema {version}; this code reads up to {SCHEMA}",
                    next_step="update llm-twin, or set a different home with TWIN_HOME",
                )
            use_write_ahead_log(self._connection, within_s=BUSY_TIMEOUT_S)
            # Commits survive the death of every process; a power cut may lose the last ones.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
            if version < SCHEMA:
                self._connection.executescript(_TABLES)

    def put_scores(self, scores: Iterable[QueuedScore], *, automatic: bool = False) -> None:
        """Queue scores in one transaction, replacing a waiting score with the same id.

        Scores on forgotten traces or by forgotten readers are left out.

        Args:
            automatic: send after readers' scores and traces.

        Raises:
            OutboxFullError: too many scores are waiting; none of these was queued.
            OutboxError: the disk is full or the file is damaged; none was queued.
        """
        priority = _AUTOMATIC_PRIORITY if automatic else _READER_PRIORITY
        with self._write_transaction("queue a score") as connection:
            if self._count(connection, "score") >= self._max_scores:
                raise OutboxFullError(
                    "queue a score",
                    found=f"{self._max_scores:,} scores that the trace store has not accepted",
                    next_step="check the trace store and its keys: `twin status`",
                )
            has_tombstones = tombstones.has_tombstones(connection)
            for score in scores:
                if has_tombstones and tombstones.is_buried_score(connection, score.body()):
                    continue
                body = json.dumps(score.body(), ensure_ascii=False).encode()
                self._put(connection, "score", score.id, body, priority=priority)

    def put_trace(self, export: bytes) -> None:
        """Queue one gzipped OTLP export; drop the oldest exports if there is no space.

        Forgotten traces are left out, and so are later scores on them.

        Raises:
            OutboxError: the disk is full or the file is damaged.
        """
        with self._write_transaction("queue a trace") as connection:
            if tombstones.has_tombstones(connection):
                buried = tombstones.find_erased_traces(connection, export)
                tombstones.add_tombstones(
                    connection, (tombstones.tombstone_hash("trace", trace) for trace in buried)
                )
                remaining = tombstones.remove_traces(export, buried) if buried else export
                if remaining is None:
                    return
                export = remaining
            identity = hashlib.sha256(export).hexdigest()
            self._put(connection, "trace", identity, export, priority=_TRACE_PRIORITY)
            while self._count(connection, "bytes") > self._max_trace_bytes:
                oldest = connection.execute(
                    "SELECT number, bytes FROM waiting WHERE kind = 'trace' ORDER BY number LIMIT 1"
                ).fetchone()
                connection.execute("DELETE FROM waiting WHERE number = ?", (oldest[0],))
                self._increment_counts(connection, trace=-1, bytes=-oldest[1], dropped=1)

    def get_next_item(self) -> QueuedItem | None:
        """Return the next item (fewest attempts, then kind, then oldest), or None if nothing waits.

        An item that the store cannot process is moved behind the others and does not block them.
        """
        with self._read_connection() as connection:
            row = connection.execute(
                "SELECT number, kind, id, attempts, queued_at, body FROM waiting "
                "ORDER BY attempts, turn, number LIMIT 1"
            ).fetchone()
        return QueuedItem(*row) if row else None

    def mark_sent(self, waiting: QueuedItem) -> None:
        """Record that the trace store has the item."""
        with self._write_transaction("note what was sent") as connection:
            self._remove(connection, waiting)
            self._increment_counts(connection, **{f"sent_{waiting.kind}": 1})
            connection.execute("DELETE FROM words WHERE name = 'problem'")

    def record_failure(self, waiting: QueuedItem, reason: str) -> None:
        """Record that this attempt failed."""
        with self._write_transaction("note a failure") as connection:
            connection.execute(
                "UPDATE waiting SET attempts = attempts + 1 WHERE number = ?", (waiting.number,)
            )
            connection.execute(
                "INSERT OR REPLACE INTO words VALUES ('problem', ?, ?)", (reason, time.time())
            )

    def refuse(self, waiting: QueuedItem, reason: str) -> None:
        """Keep aside an item that the trace store will never accept, with the reason.

        The item is kept as it waits now; one forgotten or replaced while being sent is not kept.
        """
        with self._write_transaction("note a refusal") as connection:
            connection.execute(
                "INSERT OR REPLACE INTO refused "
                "SELECT number, kind, id, ?, ?, body FROM waiting WHERE number = ?",
                (reason, time.time(), waiting.number),
            )
            self._remove(connection, waiting)

    def list_refused_items(self, *, limit: int = 100) -> list[tuple[Kind, str, str]]:
        """Return (kind, id, why) of the items that the trace store refused, newest first."""
        with self._read_connection() as connection:
            return connection.execute(
                "SELECT kind, id, why FROM refused ORDER BY number DESC LIMIT ?", (limit,)
            ).fetchall()

    def counts(self) -> OutboxCounts:
        """Return counts of waiting, sent, dropped and refused items."""
        with self._read_connection() as connection:
            counted: dict[str, int] = dict(connection.execute("SELECT name, value FROM counts"))
            oldest = connection.execute("SELECT MIN(queued_at) FROM waiting").fetchone()[0]
            refused = connection.execute("SELECT COUNT(*) FROM refused").fetchone()[0]
            word = connection.execute("SELECT value, at FROM words WHERE name = 'problem'")
            problem, problem_at = word.fetchone() or ("", None)
        return OutboxCounts(
            scores=counted.get("score", 0),
            traces=counted.get("trace", 0),
            trace_bytes=counted.get("bytes", 0),
            oldest_at=oldest,
            sent_scores=counted.get("sent_score", 0),
            sent_traces=counted.get("sent_trace", 0),
            dropped_traces=counted.get("dropped", 0),
            refused=refused,
            problem=problem,
            problem_at=problem_at,
        )

    def count_tombstones(self) -> int:
        """Return the number of tombstones, which grows when more data is forgotten."""
        with self._read_connection() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM tombstones").fetchone()[0])

    def is_buried(self, names: Iterable[str], *, started_at: float) -> bool:
        """Return whether any of these tombstones applies to data that began then (Unix seconds)."""
        with self._read_connection() as connection:
            return tombstones.is_buried(connection, names, started_at=started_at)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _put(
        self,
        connection: sqlite3.Connection,
        kind: Kind,
        identity: str,
        body: bytes,
        *,
        priority: int,
    ) -> None:
        replaced = connection.execute(
            "DELETE FROM waiting WHERE kind = ? AND id = ? RETURNING bytes", (kind, identity)
        ).fetchall()
        connection.execute(
            "INSERT INTO waiting (kind, id, turn, queued_at, bytes, body) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (kind, identity, priority, time.time(), len(body), body),
        )
        added = {kind: 1 - len(replaced)}
        if kind == "trace":
            added["bytes"] = len(body) - sum(row[0] for row in replaced)
        self._increment_counts(connection, **added)

    def _remove(self, connection: sqlite3.Connection, waiting: QueuedItem) -> None:
        # Delete by number, so that a replacement queued meanwhile stays.
        deleted = connection.execute("DELETE FROM waiting WHERE number = ?", (waiting.number,))
        if deleted.rowcount:
            size = {"bytes": -len(waiting.body)} if waiting.kind == "trace" else {}
            self._increment_counts(connection, **{waiting.kind: -1, **size})

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
    def _write_transaction(self, tried: str) -> Generator[sqlite3.Connection]:
        with self._translate_errors(tried), self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _read_connection(self) -> Generator[sqlite3.Connection]:
        with self._translate_errors("read"), self._lock:
            yield self._connection

    @contextmanager
    def _translate_errors(self, tried: str) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            tried = f"{tried} in the outbox {self.path}"
            fault = classify_error(error, self.path)
            storage_error = (
                fault.for_place(self.path, tried, summarize_error(error)) if fault else None
            )
            raise OutboxError(
                tried,
                found=storage_error.found if storage_error else str(error),
                next_step=storage_error.next_step
                if storage_error
                else "report this with the version of llm-twin",
            ) from error
