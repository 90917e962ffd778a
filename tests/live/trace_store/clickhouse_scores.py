"""The trace store's tables with the scores in ClickHouse, in the shape in which Langfuse has them.

Scope: the table, and writing, reading and deleting through it. Out of scope: HTTP,
which the embedded store's application speaks, and observations, which stay in SQLite.
Engine, order and partitions are those of Langfuse's migrations of ClickHouse, table `scores`:
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
    """A score posted again on the same day replaces its row; on another day it is a second row."""

    def __init__(self, path: Path, session: Any) -> None:
        super().__init__(path)
        self._session = session
        self._written = 0  # ClickHouse keeps the row of the largest
        session.query("CREATE DATABASE IF NOT EXISTS traces")
        session.query("USE traces")
        session.query(_TABLE)
        session.query("TRUNCATE TABLE scores")

    def put_scores(self, scores: Sequence[ScoreRow]) -> None:
        for score in scores:
            columns = [score.id, score.name, score.timestamp_ms]
            same_day = self._rows(
                "id = ? AND name = ? AND toDate(timestamp) = "
                "toDate(fromUnixTimestamp64Milli(?, 'UTC'))",
                columns,
            )
            for first in same_day:
                score = replace(  # noqa: PLW2901 - what it was first posted with
                    score,
                    timestamp_ms=first.timestamp_ms,
                    trace_id=first.trace_id,
                    created_ms=first.created_ms,
                    environment=first.environment,
                )
            self._written += 1
            values = ["twin", score.id, score.name, score.timestamp_ms, score.trace_id]
            values += [score.data_type, score.environment, json.dumps(vars(score)), self._written]
            sql = "INSERT INTO scores VALUES (?,?,?,fromUnixTimestamp64Milli(?, 'UTC'),?,?,?,?,?,0)"
            self._session.query(_filled(sql, values))

    def scores(self, query: TraceQuery) -> tuple[list[ScoreRow], bool]:
        conditions = " AND ".join(f"({condition.sql})" for condition in query.conditions) or "1"
        values = [value for condition in query.conditions for value in condition.values]
        rows = self._rows(conditions, values, most=query.limit + 1)
        return rows[: query.limit], len(rows) > query.limit

    def delete_score(self, score_id: str) -> None:
        self._session.query(_filled("DELETE FROM scores WHERE id = ?", [score_id]))

    def delete_traces(self, trace_ids: Sequence[str]) -> None:
        super().delete_traces(trace_ids)
        for trace_id in trace_ids:
            self._session.query(_filled("DELETE FROM scores WHERE trace_id = ?", [trace_id]))

    def count(self) -> int:
        """Rows that a reader is shown."""
        return len(self._rows("1", []))

    def _rows(self, where: str, values: Sequence[Any], *, most: int = 1_000_000) -> list[ScoreRow]:
        sql = (
            "SELECT row, toUnixTimestamp64Milli(timestamp) AS timestamp_ms FROM scores FINAL "
            f"WHERE {_filled(where, values)} ORDER BY timestamp_ms DESC, id DESC LIMIT {most}"
        )
        lines = str(self._session.query(sql, "JSONEachRow")).splitlines()
        return [ScoreRow(**json.loads(json.loads(line)["row"])) for line in lines]


def _filled(sql: str, values: Sequence[Any]) -> str:
    """The statement with each `?` replaced by its value, quoted."""
    parts = sql.split("?")
    assert len(parts) == len(values) + 1
    literals = [_literal(value) for value in values]
    return "".join(part + value for part, value in zip(parts, [*literals, ""], strict=True))


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)
