"""What a reader asks for: the query strings of `v3/scores` and `v2/observations`, checked.

Belongs here: parameters, cursors and the refusals with the API's own words, as SQL conditions.
Does not belong here: running SQL (`trace_tables.py`), the grammar of the `filter` parameter
(`filters.py`).
Source of the behaviour: the public API of Langfuse 4.16.0, as recorded.
"""
# pyright: strict

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twin_resources.observability.trace_store import observation_answers, posted_scores
from twin_resources.observability.trace_store.filters import (
    Condition,
    RequestRefused,
    conditions_of_filter,
    refuse,
)
from twin_resources.observability.trace_store.json_values import instant, milliseconds_of
from twin_resources.observability.trace_store.observations import Observation

Parameters = Mapping[str, Sequence[str]]  # every value of every name, in order

MAX_SCORES = 100
MAX_OBSERVATIONS = 1000
DEFAULT_LIMIT = 50

_SCORE_COLUMNS = {
    "id": "id",
    "name": "name",
    "source": "source",
    "dataType": "data_type",
    "environment": "environment",
    "configId": "config_id",
    "queueId": "queue_id",
    "authorUserId": "author_user_id",
    "traceId": "trace_id",
    "sessionId": "session_id",
    "observationId": "observation_id",
    "experimentId": "dataset_run_id",
}
_SCORE_PARAMETERS = (
    *("limit", "cursor", "fields", "value", "valueMin", "valueMax"),
    *("fromTimestamp", "toTimestamp", "userId", "traceTags"),
    *_SCORE_COLUMNS,
)
_OBSERVATION_COLUMNS = {
    "type": "type",
    "name": "name",
    "userId": "user_id",
    "sessionId": "session_id",
    "level": "level",
    "traceId": "trace_id",
    "version": "version",
    "parentObservationId": "parent_id",
}
_OBSERVATION_TYPES = (
    *("GENERATION", "SPAN", "EVENT", "AGENT", "TOOL"),
    *("CHAIN", "RETRIEVER", "EVALUATOR", "EMBEDDING", "GUARDRAIL"),
)
_LEVELS = ("DEBUG", "DEFAULT", "WARNING", "ERROR")


@dataclass(frozen=True)
class TraceQuery:
    """One page of rows: conditions joined by AND, newest first, after the cursor's row."""

    conditions: tuple[Condition, ...]
    groups: tuple[str, ...]
    limit: int
    whole_metadata: bool = False


def score_query(parameters: Parameters) -> TraceQuery:
    """Check the query string of `GET /v3/scores`.

    Raises:
        RequestRefused: the answer that the API gives (400).
    """
    query_parameters = _last_values(parameters)
    conditions: list[Condition] = []
    if query_parameters.get("cursor"):
        conditions.append(_score_cursor(query_parameters["cursor"]))
    issues: list[dict[str, Any]] = []
    limit = _limit(query_parameters.get("limit", ""), 1, MAX_SCORES, issues)
    groups = _words(query_parameters.get("fields", "")) or ["core"]
    for position, group in enumerate(groups):
        if group not in posted_scores.GROUPS:
            issues.append(_not_one_of(posted_scores.GROUPS, ["fields", position]))
    for name, allowed in (
        ("source", posted_scores.SOURCES),
        ("dataType", posted_scores.DATA_TYPES),
    ):
        for value in _words(query_parameters.get(name, "").upper()):
            if value not in allowed:
                message = f'Invalid {name} value: "{value}". Allowed: {", ".join(allowed)}'
                issues.append({"code": "custom", "path": [name], "message": message})
    bounds = {name: _number(name, query_parameters, issues) for name in ("valueMin", "valueMax")}
    times = {
        name: _date(name, query_parameters, issues) for name in ("fromTimestamp", "toTimestamp")
    }
    unknown = [name for name in query_parameters if name not in _SCORE_PARAMETERS]
    if unknown:
        issues.append(_unrecognized(unknown))
    if not issues:
        issues = [_custom(message) for message in _score_objections(query_parameters)]
    if issues:
        raise refuse(issues)

    for name, column in _SCORE_COLUMNS.items():
        text = query_parameters.get(name, "")
        words = _words(text.upper() if name in ("source", "dataType") else text)
        if words:
            conditions.append(_any_of(column, words))
    for name, sign, value in (
        ("timestamp_ms", ">=", times["fromTimestamp"]),
        ("timestamp_ms", "<", times["toTimestamp"]),
        ("value", ">=", bounds["valueMin"]),
        ("value", "<=", bounds["valueMax"]),
    ):
        if value is not None:
            conditions.append(Condition(f"{name} {sign} ?", (value,)))
    if _words(query_parameters.get("value", "")):
        conditions.append(
            _value_condition(
                query_parameters["dataType"].upper(), _words(query_parameters["value"])
            )
        )
    return TraceQuery(tuple(conditions), tuple(groups), limit)


def _score_objections(parameters: Mapping[str, str]) -> list[str]:
    """What is asked for in a combination that the API does not answer."""
    objections: list[str] = []
    for name in ("userId", "traceTags"):
        if parameters.get(name):
            objections.append(
                f"{name} filter requires a trace JOIN and is not supported in v3 — use v2 or omit "
                "this filter"
            )
    kinds, values = (
        _words(parameters.get("dataType", "").upper()),
        _words(parameters.get("value", "")),
    )
    if values and len(kinds) != 1:
        objections.append(
            "value filter requires a single dataType from: NUMERIC, BOOLEAN, CATEGORICAL"
        )
    elif values and kinds[0] not in ("NUMERIC", "BOOLEAN", "CATEGORICAL"):
        objections.append(
            "value filter requires dataType to be NUMERIC, BOOLEAN, or CATEGORICAL "
            f'(got "{kinds[0]}")'
        )
    elif values:
        objections += [
            f"value filter with dataType={kinds[0]} requires each value to be {wanted} "
            f'(got "{value}")'
            for value in values
            for wanted in [_unfit(kinds[0], value)]
            if wanted
        ]
    if (parameters.get("valueMin") or parameters.get("valueMax")) and kinds != ["NUMERIC"]:
        objections.append("valueMin and valueMax require dataType=NUMERIC as a single value")
    if _words(parameters.get("observationId", "")) and not _words(parameters.get("traceId", "")):
        objections.append(
            "observationId filter requires traceId — observation IDs are scoped to a trace"
        )
    if (
        sum(bool(_words(parameters.get(n, ""))) for n in ("traceId", "sessionId", "experimentId"))
        > 1
    ):
        objections.append("At most one of traceId, sessionId, experimentId may be specified")
    return objections


def _unfit(kind: str, value: str) -> str:
    """What a value of this kind must be, when this one is not; else empty."""
    if kind == "BOOLEAN":
        return "" if value in ("true", "false") else '"true" or "false"'
    return "a finite number" if kind == "NUMERIC" and _finite(value) is None else ""


def _value_condition(kind: str, values: list[str]) -> Condition:
    if kind == "CATEGORICAL":
        return _any_of("text", values)
    wanted = [float(value == "true") if kind == "BOOLEAN" else float(value) for value in values]
    return _any_of("value", wanted)


def observation_query(parameters: Parameters) -> TraceQuery:
    """Check the query string of `GET /v2/observations`; unknown names are ignored, as there.

    Raises:
        RequestRefused: the answer that the API gives (400).
    """
    query_parameters = _last_values(parameters)
    conditions: list[Condition] = []
    if query_parameters.get("cursor"):
        conditions.append(_observation_cursor(query_parameters["cursor"]))
    issues: list[dict[str, Any]] = []
    limit = _limit(query_parameters.get("limit", ""), 0, MAX_OBSERVATIONS, issues)
    for name, allowed in (("type", _OBSERVATION_TYPES), ("level", _LEVELS)):
        if name in query_parameters and query_parameters[name] not in allowed:
            issues.append(_not_one_of(allowed, [name]))
    if "isRootObservation" in query_parameters and query_parameters["isRootObservation"] not in (
        "true",
        "false",
    ):
        issues.append(_not_one_of(("true", "false"), ["isRootObservation"]))
    times = {
        name: _date(name, query_parameters, issues) for name in ("fromStartTime", "toStartTime")
    }
    filtered, advanced = conditions_of_filter(query_parameters.get("filter", ""), issues)
    if issues:
        raise refuse(issues)

    for name, column in _OBSERVATION_COLUMNS.items():
        if query_parameters.get(name) and name not in filtered:  # `filter` wins over the parameter
            conditions.append(Condition(f"{column} = ?", (query_parameters[name],)))
    environments = [value for value in parameters.get("environment", ()) if value]
    if environments and "environment" not in filtered:
        conditions.append(_any_of("environment", environments))
    if "isRootObservation" in query_parameters and "isRootObservation" not in filtered:
        root = int(query_parameters["isRootObservation"] == "true")
        conditions.append(Condition("(parent_id = '' OR is_app_root = 1) = ?", (root,)))
    for sign, value in ((">=", times["fromStartTime"]), ("<", times["toStartTime"])):
        if value is not None and "startTime" not in filtered:
            conditions.append(Condition(f"start_ms {sign} ?", (value,)))
    groups = [
        word
        for word in _words(query_parameters.get("fields", ""))
        if word in observation_answers.GROUPS
    ]
    return TraceQuery(
        (*conditions, *advanced),
        tuple(groups) if query_parameters.get("fields") else observation_answers.DEFAULT_GROUPS,
        limit,
        whole_metadata=bool(_words(query_parameters.get("expandMetadata", ""))),
    )


def score_cursor(last: posted_scores.ScoreRow) -> str:
    """Where the next page starts: after this row."""
    place = {"v": 1, "lastTimestamp": instant(last.timestamp_ms), "lastId": last.id}
    text = json.dumps(place, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def observation_cursor(last: Observation) -> str:
    """Where the next page starts: after this row."""
    place = {
        "lastStartTimeTo": instant(last.start_ms),
        "lastTraceId": last.trace_id,
        "lastId": last.id,
    }
    return base64.b64encode(json.dumps(place, separators=(",", ":")).encode()).decode()


def _score_cursor(text: str) -> Condition:
    place = _decoded(text)
    try:
        key = (milliseconds_of(place["lastTimestamp"]), str(place["lastId"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _bad_cursor() from error
    return Condition("(timestamp_ms, id) < (?, ?)", key)


def _observation_cursor(text: str) -> Condition:
    place = _decoded(text)
    try:
        key = (
            milliseconds_of(place["lastStartTimeTo"]),
            str(place["lastTraceId"]),
            str(place["lastId"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _bad_cursor() from error
    return Condition("(start_ms, trace_id, id) < (?, ?, ?)", key)


def _decoded(text: str) -> Any:
    try:
        plain = text.replace("-", "+").replace("_", "/").rstrip("=")
        return json.loads(base64.b64decode(plain + "=" * (-len(plain) % 4)))
    except ValueError as error:
        raise _bad_cursor() from error


def _bad_cursor() -> RequestRefused:
    return RequestRefused(400, "Invalid cursor format", "InvalidRequestError")


def _last_values(parameters: Parameters) -> dict[str, str]:
    return {name: values[-1] for name, values in parameters.items() if values}


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _any_of(column: str, values: Sequence[Any]) -> Condition:
    return Condition(f"{column} IN ({', '.join('?' * len(values))})", tuple(values))


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _number(name: str, parameters: Mapping[str, str], issues: list[dict[str, Any]]) -> float | None:
    if not parameters.get(name):
        return None
    value = _finite(parameters[name])
    if value is None:
        issues.append(_not_a_number(name))
    return value


def _date(name: str, parameters: Mapping[str, str], issues: list[dict[str, Any]]) -> int | None:
    if not parameters.get(name):
        return None
    try:
        return milliseconds_of(parameters[name])
    except (ValueError, OverflowError):
        issues.append(
            {
                "expected": "date",
                "code": "invalid_type",
                "received": "Invalid Date",
                "path": [name],
                "message": "Invalid input: expected date, received Date",
            }
        )
        return None


def _limit(text: str, least: int, most: int, issues: list[dict[str, Any]]) -> int:
    if not text:
        return DEFAULT_LIMIT
    value = _finite(text)
    if value is None:
        issues.append(_not_a_number("limit"))
    elif not value.is_integer():
        message = "Invalid input: expected int, received number"
        kind = {"expected": "int", "format": "safeint", "code": "invalid_type"}
        issues.append({**kind, "path": ["limit"], "message": message})
    elif value > most:
        issues.append(
            _out_of_range("too_big", "maximum", most, f"Too big: expected number to be <={most}")
        )
    elif value < least:
        issues.append(
            _out_of_range(
                "too_small", "minimum", least, f"Too small: expected number to be >={least}"
            )
        )
    else:
        return int(value)
    return DEFAULT_LIMIT


def _out_of_range(code: str, edge: str, bound: int, message: str) -> dict[str, Any]:
    kind = {"origin": "number", "code": code, edge: bound, "inclusive": True}
    return {**kind, "path": ["limit"], "message": message}


def _not_a_number(name: str) -> dict[str, Any]:
    return {
        "expected": "number",
        "code": "invalid_type",
        "received": "NaN",
        "path": [name],
        "message": "Invalid input: expected number, received NaN",
    }


def _not_one_of(allowed: Sequence[str], path: list[Any]) -> dict[str, Any]:
    options = "|".join(f'"{value}"' for value in allowed)
    message = f"Invalid option: expected one of {options}"
    return {"code": "invalid_value", "values": list(allowed), "path": path, "message": message}


def _unrecognized(names: Sequence[str]) -> dict[str, Any]:
    quoted = ", ".join(f'"{name}"' for name in names)
    message = f"Unrecognized key{'s' if len(names) > 1 else ''}: {quoted}"
    return {"code": "unrecognized_keys", "keys": list(names), "path": [], "message": message}


def _custom(message: str) -> dict[str, Any]:
    return {"code": "custom", "message": message, "path": []}
