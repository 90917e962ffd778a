"""Store observations and scores in one SQLite file (WAL).

Scope: the schema and its version, and writing, paging and deleting rows.
Out of scope: HTTP, parsing requests (`queries.py`).
"""

from __future__ import annotations

import json
import math
import sqlite3
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from twin_resources.errors import check_schema
from twin_resources.observability.trace_store.observations import (
    GenerationFields,
    Observation,
    TraceFields,
)
from twin_resources.observability.trace_store.posted_scores import ScoreRow
from twin_resources.observability.trace_store.queries import TraceQuery
from twin_resources.private_files import make_private_database
from twin_resources.storage.state.write_ahead import enable_write_ahead_log
from twin_resources.storage.storage_faults import translate_storage_errors
from twin_resources.untrusted_json import parse_untrusted_json
from twin_resources.wait_limits import MAX_IDLE_S

Record = TypeVar("Record")
SCHEMA_VERSION = 2
MAX_DELETED_TRACES = 500
_JSON_COLUMNS = {"tags", "model_parameters", "usage", "cost", "metadata"}
_BOOLEAN_COLUMNS = {"public", "is_app_root"}
_NESTED = {"trace": TraceFields, "generation": GenerationFields}
_COLUMNS_BY_FIELD = {
    name: tuple(field.name for field in fields(cls)) for name, cls in _NESTED.items()
}
_OBSERVATION_FIELDS = tuple(
    column
    for field in fields(Observation)
    for column in _COLUMNS_BY_FIELD.get(field.name, (field.name,))
)
_SCORE_FIELDS = tuple(field.name for field in fields(ScoreRow))
# A score that is posted again keeps these fields of the first post.
_FIRST_SCORE_FIELDS = {"id", "trace_id", "timestamp_ms", "created_ms", "environment"}
_TABLES = f"""
CREATE TABLE IF NOT EXISTS observations
  ({", ".join(_OBSERVATION_FIELDS)}, PRIMARY KEY (trace_id, id));
CREATE INDEX IF NOT EXISTS observations_by_time ON observations (start_ms, trace_id, id);
CREATE TABLE IF NOT EXISTS scores ({", ".join(_SCORE_FIELDS)}, PRIMARY KEY (id));
CREATE INDEX IF NOT EXISTS scores_by_time ON scores (timestamp_ms, id);
CREATE INDEX IF NOT EXISTS scores_by_trace ON scores (trace_id);
CREATE TABLE IF NOT EXISTS store (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL);
INSERT OR IGNORE INTO store VALUES (1, lower(hex(randomblob(16))));
PRAGMA user_version = {SCHEMA_VERSION};
"""


class TraceTables:
    """The tables of one database file; several threads may use them.

    Args:
        path: the SQLite file; its folder is created.

    Raises:
        StorageError: the file cannot be opened.
        TwinError: a newer version of this code wrote the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable_rows = set[str]()
        self._local = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        with translate_storage_errors(f"open the trace store {path}", path):
            make_private_database(path)
            connection = self._connection()
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        check_schema(
            f"open the trace store {path}",
            version,
            SCHEMA_VERSION,
            next_step="update llm-twin, or set a different home with TWIN_HOME",
        )
        if version < SCHEMA_VERSION:
            connection.executescript(_TABLES)

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=MAX_IDLE_S)
            connection.row_factory = sqlite3.Row
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            enable_write_ahead_log(connection, timeout_s=MAX_IDLE_S)
            # A power cut may lose the last seconds of data, but it does not damage the file.
            connection.execute("PRAGMA synchronous = NORMAL")
            # Erased data must not stay readable in free pages.
            connection.execute("PRAGMA secure_delete = ON")
            self._local.connection = connection
        return connection

    @contextmanager
    def _write_transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def put_observations(self, observations: Sequence[Observation]) -> None:
        """Insert rows, or replace rows with the same trace and id, keeping the old `created_ms`."""
        rows = [_encode_row(record, _OBSERVATION_FIELDS) for record in observations]
        self._upsert(
            "observations", _OBSERVATION_FIELDS, rows, keep=("trace_id", "id", "created_ms")
        )

    def put_scores(self, scores: Sequence[ScoreRow]) -> None:
        """Insert rows, or replace rows with the same id, keeping `_FIRST_SCORE_FIELDS`."""
        rows = [_encode_row(record, _SCORE_FIELDS) for record in scores]
        self._upsert("scores", _SCORE_FIELDS, rows, keep=_FIRST_SCORE_FIELDS)

    def _upsert(
        self, table: str, columns: Sequence[str], rows: Sequence[Any], *, keep: Collection[str]
    ) -> None:
        """Insert rows; in a row that exists, replace the columns that are not in `keep`."""
        updates = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keep)
        sql = (
            f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))}) "
            f"ON CONFLICT DO UPDATE SET {updates}"
        )
        with self._write_transaction() as connection:
            connection.executemany(sql, rows)

    def observations(self, query: TraceQuery) -> tuple[list[Observation], bool]:
        """Return one page, newest first, and whether another page follows."""
        order = "start_ms DESC, trace_id DESC, id DESC"
        return self._page("observations", query, order, _decode_observation)

    def scores(self, query: TraceQuery) -> tuple[list[ScoreRow], bool]:
        """Return one page, newest first, and whether another page follows."""
        return self._page("scores", query, "timestamp_ms DESC, id DESC", _decode_score)

    def _page(
        self, table: str, query: TraceQuery, order: str, decode: Callable[[sqlite3.Row], Record]
    ) -> tuple[list[Record], bool]:
        """Return the readable rows of one page; the next page follows the last of them.

        One damaged row must not hide the others: it is left out, and named in `unreadable_rows`.
        """
        where = " AND ".join(f"({condition.sql})" for condition in query.conditions) or "1"
        values = [value for condition in query.conditions for value in condition.values]
        sql = f"SELECT * FROM {table} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
        for offset in count(0, max(query.limit, 1)):
            limits = (query.limit + 1, offset)
            rows = self._connection().execute(sql, (*values, *limits)).fetchall()
            has_more = len(rows) > query.limit
            records: list[Record] = []
            for row in rows[: query.limit]:
                try:
                    records.append(decode(row))
                except (ValueError, TypeError) as error:
                    name = f"{table[:-1]} {row['id']}"
                    if name not in self.unreadable_rows:
                        print(f"trace store: {name} cannot be read: {error}", file=sys.stderr)  # noqa: T201
                    self.unreadable_rows.add(name)
            if records or not has_more or not query.limit:
                return records, has_more
        raise AssertionError("`count` has no end")

    def delete_score(self, score_id: str) -> None:
        """Delete one score if it exists."""
        with self._write_transaction() as connection:
            connection.execute("DELETE FROM scores WHERE id = ?", (score_id,))
        self._truncate_log()

    def delete_traces(self, trace_ids: Sequence[str]) -> None:
        """Delete the observations and scores of these traces."""
        keys = [(trace_id,) for trace_id in trace_ids]
        with self._write_transaction() as connection:
            connection.executemany("DELETE FROM observations WHERE trace_id = ?", keys)
            connection.executemany("DELETE FROM scores WHERE trace_id = ?", keys)
        self._truncate_log()

    def delete_old_traces(self, *, before_ms: int) -> None:
        """Delete traces that started and arrived before `before_ms`, with their scores.

        One call deletes at most `MAX_DELETED_TRACES`, the oldest, so that it does not delay other
        writers.
        """
        rows = (
            self._connection()
            .execute(
                "SELECT trace_id FROM observations WHERE start_ms < ? GROUP BY trace_id "
                "HAVING MAX(created_ms) < ? ORDER BY MIN(start_ms) LIMIT ?",
                (before_ms, before_ms, MAX_DELETED_TRACES),
            )
            .fetchall()
        )
        if rows:
            self.delete_traces([row["trace_id"] for row in rows])

    def _truncate_log(self) -> None:
        """Move the write-ahead log into the file, because the log still has the deleted pages."""
        self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def read_store_id(self) -> str:
        """Return this file's own id, by which a reader knows that it is the same store."""
        return str(self._connection().execute("SELECT id FROM store").fetchone()[0])

    def check_readable(self) -> None:
        """Read one page of the file.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        self._connection().execute("SELECT COUNT(*) FROM sqlite_master").fetchone()


def _encode_row(record: Observation | ScoreRow, names: Sequence[str]) -> tuple[Any, ...]:
    values = vars(record)
    for field_name in _NESTED.keys() & values.keys():
        values = values | vars(values[field_name])
    return tuple(
        json.dumps(values[name], ensure_ascii=False) if name in _JSON_COLUMNS else values[name]
        for name in names
    )


def _decode_score(row: sqlite3.Row) -> ScoreRow:
    score = ScoreRow(**_decode_row(row))
    if not math.isfinite(score.value):  # SQLite stores NaN as NULL, which is a TypeError
        raise ValueError(f"its value is {score.value}")
    return score


def _decode_row(row: sqlite3.Row) -> dict[str, Any]:
    return {
        name: parse_untrusted_json(row[name]) if name in _JSON_COLUMNS else row[name]
        for name in row.keys()  # noqa: SIM118 - iterating a Row gives its values
    }


def _decode_observation(row: sqlite3.Row) -> Observation:
    values = _decode_row(row)
    values["tags"] = tuple(values["tags"])
    for name in _BOOLEAN_COLUMNS:
        values[name] = bool(values[name])
    nested_fields = {
        name: cls(**{column: values.pop(column) for column in _COLUMNS_BY_FIELD[name]})
        for name, cls in _NESTED.items()
    }
    return Observation(**values, **nested_fields)
