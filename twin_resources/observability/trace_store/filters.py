"""Translate the `filter` parameter of `v2/observations` (conditions in JSON) into SQL.

Scope: the conditions that this project and the SDK send (the SDK uses them to resume a batch
evaluation and to filter by tags), and the errors for other conditions.
Out of scope: the plain query parameters (`queries.py`); the rest of the grammar, which a real
Langfuse supports and this store refuses.
Source of the grammar: `filter` of https://api.reference.langfuse.com, Observations V2.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from twin_resources.observability.trace_store.json_values import parse_timestamp_ms
from twin_resources.untrusted_json import parse_untrusted_json


class RequestRefusedError(Exception):
    """A refusal of a request with this status and the body `{"message": …, "error": …}`."""

    def __init__(self, status: int, message: str, error: Any) -> None:
        self.status, self.message, self.error = status, message, error
        super().__init__(message)


def build_invalid_request_error(issues: Sequence[dict[str, Any]]) -> RequestRefusedError:
    """Return one error that lists all issues of a request."""
    return RequestRefusedError(400, "Invalid request data", list(issues))


@dataclass(frozen=True)
class Condition:
    """An SQL expression with its parameters."""

    sql: str
    values: tuple[Any, ...] = ()


_SUPPORTED_CONDITIONS = "metadata key = text, traceId any of, tags any of, startTime <="


def parse_filter(text: str, issues: list[dict[str, Any]]) -> tuple[set[str], list[Condition]]:
    """Return the filter's column names and conditions, and append its errors to `issues`.

    Raises:
        RequestRefusedError: the parameter is not JSON.
    """
    if not text:
        return set(), []
    try:
        entries = parse_untrusted_json(text)
    except ValueError as error:
        message = "Invalid JSON in filter parameter"
        raise RequestRefusedError(400, message, "InvalidRequestError") from error
    if not isinstance(entries, list):
        message = "Invalid input: expected array"
        issues.append(
            {"expected": "array", "code": "invalid_type", "path": ["filter"], "message": message}
        )
        return set(), []
    columns: set[str] = set()
    conditions: list[Condition] = []
    for position, entry in enumerate(cast(list[Any], entries)):
        try:
            conditions.append(_parse_condition(entry))
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


def _parse_condition(entry: Any) -> Condition:
    signature, value = (entry["type"], entry["column"], entry["operator"]), entry.get("value")
    if signature == ("stringObject", "metadata", "=") and isinstance(value, str):
        expression = "COALESCE((SELECT value FROM json_each(metadata) WHERE key = ?), '')"
        return Condition(f"{expression} = ?", (str(entry["key"]), value))
    if signature == ("stringOptions", "traceId", "any of"):
        return Condition(f"trace_id IN {_placeholders(value)}", tuple(value))
    if signature == ("arrayOptions", "tags", "any of"):
        subquery = f"SELECT 1 FROM json_each(tags) WHERE value IN {_placeholders(value)}"
        return Condition(f"EXISTS ({subquery})", tuple(value))
    if signature == ("datetime", "startTime", "<="):
        return Condition("start_ms <= ?", (parse_timestamp_ms(value),))
    raise ValueError(
        f"{signature} with value {value!r}: this store supports only {_SUPPORTED_CONDITIONS}"
    )


def _placeholders(values: Any) -> str:
    texts = cast(list[Any], values) if isinstance(values, list) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"value {values!r} is not a list of strings")
    return f"({', '.join('?' * len(texts))})"
