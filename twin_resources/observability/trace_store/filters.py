"""The `filter` parameter of `v2/observations`: a list of conditions as JSON, as SQL.

Belongs here: the grammar of one condition, the columns it may name, and how a request is refused.
Does not belong here: the plain query parameters (`queries.py`).
Source of the grammar: `filter` of https://api.reference.langfuse.com, Observations V2.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from twin_resources.observability.trace_store.json_values import milliseconds_of


class RequestRefused(Exception):
    """The request is answered with this status and `{"message": …, "error": …}`."""

    def __init__(self, status: int, message: str, error: Any) -> None:
        self.status, self.message, self.error = status, message, error
        super().__init__(message)


def refuse(issues: Sequence[dict[str, Any]]) -> RequestRefused:
    """Several issues of one request, in one answer."""
    return RequestRefused(400, "Invalid request data", list(issues))


@dataclass(frozen=True)
class Condition:
    """A piece of SQL with its parameters."""

    sql: str
    values: tuple[Any, ...] = ()


_ROOT = "(parent_id = '' OR is_app_root = 1)"
_TEXT_COLUMNS = {
    "id": "id",
    "traceId": "trace_id",
    "parentObservationId": "parent_id",
    "type": "type",
    "name": "name",
    "level": "level",
    "statusMessage": "status_message",
    "version": "version",
    "release": "release",
    "environment": "environment",
    "userId": "user_id",
    "sessionId": "session_id",
    "traceName": f"COALESCE(NULLIF(trace_name, ''), CASE WHEN {_ROOT} THEN name END, '')",
    "model": "model",
    "providedModelName": "model",
    "promptName": "prompt_name",
    "input": "COALESCE(input, '')",
    "output": "COALESCE(output, '')",
}
_NUMBER_COLUMNS = {
    "latency": "(end_ms - start_ms) / 1000.0",
    "timeToFirstToken": "(completion_ms - start_ms) / 1000.0",
    "totalCost": "COALESCE(json_extract(cost, '$.total'), 0)",
    "totalTokens": "COALESCE(json_extract(usage, '$.total'), 0)",
    "promptVersion": "prompt_version",
}
_TIME_COLUMNS = {"startTime": "start_ms", "endTime": "end_ms"}
_BOOLEAN_COLUMNS = {"isRootObservation": _ROOT, "hasParentObservation": "(parent_id <> '')"}
_METADATA = "(SELECT value FROM json_each(metadata) WHERE key = ?)"
_COMPARISONS = ("=", ">", "<", ">=", "<=")


def conditions_of_filter(
    text: str, issues: list[dict[str, Any]]
) -> tuple[set[str], list[Condition]]:
    """The columns that the filter names, and its conditions; what is wrong is added to `issues`.

    Raises:
        RequestRefused: the parameter is not JSON.
    """
    if not text:
        return set(), []
    try:
        stated = json.loads(text)
    except json.JSONDecodeError as error:
        message = "Invalid JSON in filter parameter"
        raise RequestRefused(400, message, "InvalidRequestError") from error
    if not isinstance(stated, list):
        message = "Invalid input: expected array"
        issues.append(
            {"expected": "array", "code": "invalid_type", "path": ["filter"], "message": message}
        )
        return set(), []
    columns: set[str] = set()
    conditions: list[Condition] = []
    for position, entry in enumerate(cast(list[Any], stated)):
        try:
            conditions.append(_condition(entry))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            issues.append(
                {
                    "code": "custom",
                    "path": ["filter", position],
                    "message": f"Unsupported filter condition: {error}",
                }
            )
        else:
            columns.add(entry["column"])
    return columns, conditions


def _condition(entry: Any) -> Condition:
    kind, column, operator = entry["type"], entry["column"], entry["operator"]
    value = entry.get("value")
    if kind == "string":
        return _text(_column(_TEXT_COLUMNS, column), operator, value)
    if kind == "stringObject":
        return _text(f"COALESCE({_metadata(column)}, '')", operator, value, key=entry["key"])
    if kind == "stringOptions":
        return _options(_column(_TEXT_COLUMNS, column), operator, value)
    if kind == "arrayOptions":
        return _tags(column, operator, value)
    if kind == "datetime":
        sql = f"{_column(_TIME_COLUMNS, column)} {_comparison(operator)} ?"
        return Condition(sql, (milliseconds_of(value),))
    if kind == "number":
        sql = f"{_column(_NUMBER_COLUMNS, column)} {_comparison(operator)} ?"
        return Condition(sql, (float(value),))
    if kind == "numberObject":
        sql = f"CAST({_metadata(column)} AS REAL) {_comparison(operator)} ?"
        return Condition(sql, (entry["key"], float(value)))
    if kind == "boolean" and operator in ("=", "<>"):
        return Condition(f"{_column(_BOOLEAN_COLUMNS, column)} {operator} ?", (int(bool(value)),))
    if kind == "null" and operator in ("is null", "is not null"):
        sign = "=" if operator == "is null" else "<>"
        return Condition(f"{_column(_TEXT_COLUMNS, column)} {sign} ''")
    raise ValueError(f"type {kind!r} with operator {operator!r}")


def _column(columns: dict[str, str], name: str) -> str:
    if name not in columns:
        raise ValueError(f"column {name!r} is none of {', '.join(sorted(columns))}")
    return columns[name]


def _metadata(column: str) -> str:
    if column != "metadata":
        raise ValueError(f"column {column!r} has no keys; only metadata has")
    return _METADATA


def _comparison(operator: str) -> str:
    if operator not in _COMPARISONS:
        raise ValueError(f"operator {operator!r} is none of {', '.join(_COMPARISONS)}")
    return operator


def _text(sql: str, operator: str, value: str, *, key: str | None = None) -> Condition:
    first = () if key is None else (key,)
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] - it came as JSON
        raise TypeError(f"value {value!r} is not a text")
    if operator == "=":
        return Condition(f"{sql} = ?", (*first, value))
    if operator in ("contains", "matches"):
        return Condition(f"instr({sql}, ?) > 0", (*first, value))
    if operator == "does not contain":
        return Condition(f"instr({sql}, ?) = 0", (*first, value))
    if operator == "starts with":
        return Condition(f"substr({sql}, 1, ?) = ?", (*first, len(value), value))
    if operator == "ends with":
        return Condition(f"substr({sql}, -?) = ?", (*first, len(value), value))
    raise ValueError(f"operator {operator!r} on a text")


def _options(sql: str, operator: str, values: Sequence[str]) -> Condition:
    if operator not in ("any of", "none of") or not values or isinstance(values, str):
        raise ValueError(f"operator {operator!r} with value {values!r}")
    sign = "IN" if operator == "any of" else "NOT IN"
    return Condition(f"{sql} {sign} ({', '.join('?' * len(values))})", tuple(values))


def _tags(column: str, operator: str, values: Sequence[str]) -> Condition:
    if column not in ("tags", "traceTags"):
        raise ValueError(f"column {column!r} is no list; tags is")
    if operator not in ("any of", "none of", "all of") or isinstance(values, str):
        raise ValueError(f"operator {operator!r} with value {values!r}")
    marks = ", ".join("?" * len(values))
    found = f"(SELECT COUNT(DISTINCT value) FROM json_each(tags) WHERE value IN ({marks}))"
    wanted = {"any of": "> 0", "none of": "= 0", "all of": f"= {len(set(values))}"}[operator]
    return Condition(f"{found} {wanted}", tuple(values))
