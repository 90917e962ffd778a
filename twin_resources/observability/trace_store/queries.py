"""Parse the query strings of `v3/scores` and `v2/observations` into SQL conditions.

Scope: parameters, cursors, the API's error messages, and SQL conditions.
Out of scope: running SQL (`trace_tables.py`), the grammar of the `filter` parameter
(`filters.py`).
Source of the behavior: recorded responses of the public API of Langfuse 4.16.0.
"""
# pyright: strict

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twin_resources.observability.trace_store import observation_documents, posted_scores
from twin_resources.observability.trace_store.filters import (
    Condition,
    RequestRefusedError,
    build_invalid_request_error,
    parse_filter,
)
from twin_resources.observability.trace_store.json_values import (
    format_timestamp,
    parse_timestamp_ms,
)
from twin_resources.observability.trace_store.observations import Observation
from twin_resources.untrusted_json import parse_untrusted_json

Parameters = Mapping[str, Sequence[str]]  # all values of each name, in order

MAX_SCORES = 100
MAX_OBSERVATIONS = 1000
DEFAULT_LIMIT = 50

# The parameters that this project and Langfuse's SDK use. Others are refused with an error.
_SCORE_COLUMNS = {
    "id": "id",
    "name": "name",
    "dataType": "data_type",
    "environment": "environment",
    "traceId": "trace_id",
}
_SCORE_PARAMETERS = {"limit", "cursor", "fields", "fromTimestamp", "toTimestamp", *_SCORE_COLUMNS}
_OBSERVATION_COLUMNS = {
    "type": "type",
    "name": "name",
    "userId": "user_id",
    "sessionId": "session_id",
    "traceId": "trace_id",
    "version": "version",
}


@dataclass(frozen=True)
class TraceQuery:
    """A query for one page of the rows that meet all conditions, newest first."""

    conditions: tuple[Condition, ...]
    groups: tuple[str, ...]
    limit: int
    expand_metadata: bool = False


def parse_score_query(parameters: Parameters) -> TraceQuery:
    """Parse the query string of `GET /v3/scores`.

    Raises:
        RequestRefusedError: a parameter is invalid, or this store does not support it.
    """
    values_by_name = _select_last_values(parameters)
    conditions = _build_cursor_conditions(
        values_by_name, {"lastTimestamp": "timestamp_ms", "lastId": "id"}
    )
    issues = [
        _build_issue(name, "this store does not support it")
        for name in values_by_name.keys() - _SCORE_PARAMETERS
    ]
    limit = _parse_limit(values_by_name.get("limit", ""), 1, MAX_SCORES, issues)
    groups = _split_list(values_by_name.get("fields", "")) or ["core"]
    if unknown_groups := set(groups) - set(posted_scores.FIELD_GROUPS):
        issues.append(
            _build_issue("fields", f"{sorted(unknown_groups)} not in {posted_scores.FIELD_GROUPS}")
        )
    for name, column in _SCORE_COLUMNS.items():
        text = values_by_name.get(name, "")
        if options := _split_list(text.upper() if name == "dataType" else text):
            placeholders = ", ".join("?" * len(options))
            conditions.append(Condition(f"{column} IN ({placeholders})", tuple(options)))
    conditions += _build_time_conditions(
        values_by_name, "fromTimestamp", "toTimestamp", "timestamp_ms", issues
    )
    if issues:
        raise build_invalid_request_error(issues)
    return TraceQuery(tuple(conditions), tuple(groups), limit)


def parse_observation_query(parameters: Parameters) -> TraceQuery:
    """Parse the query string of `GET /v2/observations`; ignore unknown names, as Langfuse does.

    Raises:
        RequestRefusedError: a parameter is invalid.
    """
    values_by_name = _select_last_values(parameters)
    conditions = _build_cursor_conditions(
        values_by_name, {"lastStartTimeTo": "start_ms", "lastTraceId": "trace_id", "lastId": "id"}
    )
    issues: list[dict[str, Any]] = []
    limit = _parse_limit(values_by_name.get("limit", ""), 0, MAX_OBSERVATIONS, issues)
    filter_columns, filter_conditions = parse_filter(values_by_name.get("filter", ""), issues)
    for name, column in _OBSERVATION_COLUMNS.items():
        if values_by_name.get(name) and name not in filter_columns:  # `filter` takes precedence
            conditions.append(Condition(f"{column} = ?", (values_by_name[name],)))
    time_conditions = _build_time_conditions(
        values_by_name, "fromStartTime", "toStartTime", "start_ms", issues
    )
    conditions += [] if "startTime" in filter_columns else time_conditions
    if issues:
        raise build_invalid_request_error(issues)
    groups = [
        group
        for group in _split_list(values_by_name.get("fields", ""))
        if group in observation_documents.FIELD_GROUPS
    ]
    return TraceQuery(
        (*conditions, *filter_conditions),
        tuple(groups) if values_by_name.get("fields") else observation_documents.DEFAULT_GROUPS,
        limit,
        expand_metadata=bool(_split_list(values_by_name.get("expandMetadata", ""))),
    )


def encode_score_cursor(row: posted_scores.ScoreRow) -> str:
    """Return the cursor for the page after this row."""
    position = {"v": 1, "lastTimestamp": format_timestamp(row.timestamp_ms), "lastId": row.id}
    text = json.dumps(position, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def encode_observation_cursor(row: Observation) -> str:
    """Return the cursor for the page after this row."""
    position = {
        "lastStartTimeTo": format_timestamp(row.start_ms),
        "lastTraceId": row.trace_id,
        "lastId": row.id,
    }
    return base64.b64encode(json.dumps(position, separators=(",", ":")).encode()).decode()


def _build_cursor_conditions(
    values_by_name: Mapping[str, str], columns_by_field: Mapping[str, str]
) -> list[Condition]:
    """Return the condition for the rows after the cursor, or an empty list without a cursor.

    Args:
        columns_by_field: field of the cursor → column, in sort order. The first field is a time.

    Raises:
        RequestRefusedError: the cursor is invalid.
    """
    if not values_by_name.get("cursor"):
        return []
    text = values_by_name["cursor"].replace("-", "+").replace("_", "/").rstrip("=")
    try:
        position = parse_untrusted_json(base64.b64decode(text + "=" * (-len(text) % 4)))
        timestamp, *ids = (position[field] for field in columns_by_field)
        values = (parse_timestamp_ms(timestamp), *map(str, ids))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = "Invalid cursor format"
        raise RequestRefusedError(400, message, "InvalidRequestError") from error
    columns = ", ".join(columns_by_field.values())
    return [Condition(f"({columns}) < ({', '.join('?' * len(values))})", values)]


def _select_last_values(parameters: Parameters) -> dict[str, str]:
    return {name: values[-1] for name, values in parameters.items() if values}


def _split_list(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _build_time_conditions(
    values_by_name: Mapping[str, str],
    from_name: str,
    to_name: str,
    column: str,
    issues: list[dict[str, Any]],
) -> list[Condition]:
    """Build conditions for the time from `from_name` (inclusive) to `to_name` (exclusive)."""
    conditions: list[Condition] = []
    for name, operator in ((from_name, ">="), (to_name, "<")):
        if values_by_name.get(name):
            try:
                timestamp_ms = parse_timestamp_ms(values_by_name[name])
            except ValueError:
                issues.append(_build_issue(name, f"{values_by_name[name]!r} is not a date"))
            else:
                conditions.append(Condition(f"{column} {operator} ?", (timestamp_ms,)))
    return conditions


def _parse_limit(text: str, minimum: int, maximum: int, issues: list[dict[str, Any]]) -> int:
    if not text:
        return DEFAULT_LIMIT
    if text.isdecimal() and minimum <= int(text) <= maximum:
        return int(text)
    issues.append(
        _build_issue("limit", f"{text!r} is not a whole number from {minimum} to {maximum}")
    )
    return DEFAULT_LIMIT


def _build_issue(name: str, message: str) -> dict[str, Any]:
    return {"code": "custom", "path": [name], "message": message}
