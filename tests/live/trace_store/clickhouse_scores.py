"""Keep the trace store's scores in ClickHouse, in Langfuse's table format, for tests.

Scope: the table, and writing, reading and deleting scores. Out of scope: HTTP (the embedded store's
application), and observations, which stay in SQLite.
Engine, order and partitions are as in Langfuse's ClickHouse migrations:
https://github.com/langfuse/langfuse/tree/main/packages/shared/clickhouse/migrations
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from twin_resources.observability.trace_store.posted_scores import ScoreRow
from twin_resources.observability.trace_store.queries import TraceQuery
from twin_resources.observability.trace_store.trace_tables import TraceTables

_TABLE = """
CREATE TABLE IF NOT EXISTS scores (
  project_id String, id String, name String, timestamp DateTime64(3, 'UTC'), trace_id String,
  data_type String, environment String, row String, event_ts UInt64, is_deleted UInt8
) ENGINE = ReplacingMergeTree(event_ts, is_deleted)
PARTITION BY toYYYYMM(timestamp) ORDER BY (project_id, toDate(timestamp), name, id)
"""


class ClickHouseScores(TraceTables):
    """The trace store's tables, with the scores in ClickHouse.

    A repeated score replaces its row on the same day, and adds a second row on another day.
    """

    def __init__(self, path: Path, session: Any) -> None:
        super().__init__(path)
        self._session = session
        self._version = 0  # of a row; ClickHouse keeps the row with the largest
        session.query("CREATE DATABASE IF NOT EXISTS traces")
        session.query("USE traces")
        session.query(_TABLE)
        session.query("TRUNCATE TABLE scores")

    def put_scores(self, scores: Sequence[ScoreRow]) -> None:
        for score in scores:
            columns = [score.id, score.name, score.timestamp_ms]
            rows_of_day = self._select(
                "id = ? AND name = ? AND toDate(timestamp) = "
                "toDate(fromUnixTimestamp64Milli(?, 'UTC'))",
                columns,
            )
            for first in rows_of_day:
                score = replace(  # noqa: PLW2901 - keeps the fields of the first post
                    score,
                    timestamp_ms=first.timestamp_ms,
                    trace_id=first.trace_id,
                    created_ms=first.created_ms,
                    environment=first.environment,
                )
            self._version += 1
            values = ["twin", score.id, score.name, score.timestamp_ms, score.trace_id]
            values += [
                score.data_type,
                score.environment,
                json.dumps(vars(score)),
                self._version,
            ]
            sql = "INSERT INTO scores VALUES (?,?,?,fromUnixTimestamp64Milli(?, 'UTC'),?,?,?,?,?,0)"
            self._session.query(_bind_values(sql, values))

    def scores(self, query: TraceQuery) -> tuple[list[ScoreRow], bool]:
        conditions = " AND ".join(f"({condition.sql})" for condition in query.conditions) or "1"
        values = [value for condition in query.conditions for value in condition.values]
        rows = self._select(conditions, values, limit=query.limit + 1)
        return rows[: query.limit], len(rows) > query.limit

    def delete_score(self, score_id: str) -> None:
        self._session.query(_bind_values("DELETE FROM scores WHERE id = ?", [score_id]))

    def delete_traces(self, trace_ids: Sequence[str]) -> None:
        super().delete_traces(trace_ids)
        for trace_id in trace_ids:
            self._session.query(_bind_values("DELETE FROM scores WHERE trace_id = ?", [trace_id]))

    def count(self) -> int:
        """Return the number of rows, after ClickHouse has merged them."""
        return len(self._select("1", []))

    def _select(
        self, where: str, values: Sequence[Any], *, limit: int = 1_000_000
    ) -> list[ScoreRow]:
        sql = (
            "SELECT row, toUnixTimestamp64Milli(timestamp) AS timestamp_ms FROM scores FINAL "
            f"WHERE {_bind_values(where, values)} ORDER BY timestamp_ms DESC, id DESC LIMIT {limit}"
        )
        lines = str(self._session.query(sql, "JSONEachRow")).splitlines()
        return [ScoreRow(**json.loads(json.loads(line)["row"])) for line in lines]


def _bind_values(sql: str, values: Sequence[Any]) -> str:
    """Return the statement with each `?` replaced by its quoted value."""
    parts = sql.split("?")
    assert len(parts) == len(values) + 1
    literals = [_quote(value) for value in values]
    return "".join(part + value for part, value in zip(parts, [*literals, ""], strict=True))


def _quote(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)
