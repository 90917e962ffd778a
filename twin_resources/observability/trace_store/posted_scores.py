"""A score: what may be posted, and how the API answers it.

Belongs here: the checks of a posted score with the API's own words, the score's fields and groups.
Does not belong here: filters and paging (`queries.py`), storage.
Source of the behaviour: `POST /scores` and `GET /v3/scores` of Langfuse 4.16.0, as recorded.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from twin_resources.observability.trace_store.json_values import (
    instant,
    metadata_of,
    number,
    read_back,
)
from twin_resources.observability.trace_store.observation_answers import PROJECT_ID
from twin_resources.observability.trace_store.observations import environment_name

GROUPS = ("core", "details", "subject", "annotation")
DATA_TYPES = ("NUMERIC", "CATEGORICAL", "BOOLEAN", "CORRECTION", "TEXT")
SOURCES = ("ANNOTATION", "API", "EVAL")
MAX_TEXT = 500

Issue = dict[str, Any]
_SUBJECT = ("traceId", "sessionId", "datasetRunId")
_TEXTS = (*_SUBJECT, "observationId", "comment", "configId", "queueId", "id")


@dataclass(frozen=True)
class ScoreRow:
    """One row of the store. `value` is a number (booleans 0 or 1), `text` the words of a score."""

    id: str
    trace_id: str
    observation_id: str
    session_id: str
    dataset_run_id: str
    name: str
    data_type: str
    value: float
    text: str
    source: str
    environment: str
    comment: str | None
    config_id: str | None
    queue_id: str | None
    author_user_id: str | None
    metadata: Mapping[str, str]
    timestamp_ms: int
    created_ms: int
    updated_ms: int


def _kind(value: Any, *, present: bool) -> str:
    if not present:
        return "undefined"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list):
        return "array"
    return "string" if isinstance(value, str) else "object"


def _wrong_type(expected: str, body: Mapping[str, Any], name: str) -> Issue:
    kind = _kind(body.get(name), present=name in body)
    return {
        "expected": expected,
        "code": "invalid_type",
        "path": [name],
        "message": f"Invalid input: expected {expected}, received {kind}",
    }


def issues_of(posted: Any) -> list[Issue]:
    """What is wrong with a posted score; empty when it can be stored."""
    if not isinstance(posted, dict):
        kind = _kind(posted, present=True)
        message = f"Invalid input: expected object, received {kind}"
        return [{"expected": "object", "code": "invalid_type", "path": [], "message": message}]
    body = cast(dict[str, Any], posted)
    issues: list[Issue] = []
    if not isinstance(body.get("name"), str):
        issues.append(_wrong_type("string", body, "name"))
    elif not body["name"]:
        issues.append(_too_small("name"))
    issues += [
        _wrong_type("string", body, name)
        for name in _TEXTS
        if body.get(name) is not None and not isinstance(body[name], str)
    ]
    issues += _value_issues(body)
    return issues or _subject_issues(body)


def _too_small(name: str) -> Issue:
    return {
        "origin": "string",
        "code": "too_small",
        "minimum": 1,
        "inclusive": True,
        "path": [name],
        "message": "Too small: expected string to have >=1 characters",
    }


def _value_issues(body: Mapping[str, Any]) -> list[Issue]:
    value, data_type = body.get("value"), body.get("dataType")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if data_type is None:
        if is_number or isinstance(value, str):
            return []
        return [{"code": "invalid_union", "path": ["value"], "message": "Invalid input"}]
    if data_type not in DATA_TYPES:
        note = {"note": "No matching discriminator", "discriminator": "dataType"}
        return [{"code": "invalid_union", **note, "path": ["dataType"], "message": "Invalid input"}]
    if data_type in ("NUMERIC", "BOOLEAN"):
        if not is_number:
            return [_wrong_type("number", body, "value")]
        if data_type == "BOOLEAN" and value not in (0, 1):
            message = "Value must be a number equal to either 0 or 1 for data type BOOLEAN"
            return [{"code": "custom", "path": ["value"], "message": message}]
        return []
    if not isinstance(value, str):
        return [_wrong_type("string", body, "value")]
    if data_type == "TEXT" and not 1 <= len(value) <= MAX_TEXT:
        message = f"Text scores have 1 to {MAX_TEXT} characters"
        return [{"code": "custom", "path": ["value"], "message": message}]
    return []


def _subject_issues(body: Mapping[str, Any]) -> list[Issue]:
    named = [name for name in _SUBJECT if body.get(name)]
    if len(named) == 1 and (named == ["traceId"] or not body.get("observationId")):
        return []
    message = (
        "Provide exactly one of the following: traceId (with optional observationId), sessionId "
        "or datasetRunId. ObservationId requires traceId."
    )
    return [{"code": "custom", "path": [*_SUBJECT, "observationId"], "message": message}]


def score_of(body: Mapping[str, Any], *, now_ms: int) -> ScoreRow:
    """A posted score without issues → its row. Its timestamp is its arrival, as in the API."""
    value = body["value"]
    word = isinstance(value, str)
    data_type = str(body.get("dataType") or ("CATEGORICAL" if word else "NUMERIC"))
    return ScoreRow(
        id=body.get("id") or str(uuid4()),
        trace_id=body.get("traceId") or "",
        observation_id=body.get("observationId") or "",
        session_id=body.get("sessionId") or "",
        dataset_run_id=body.get("datasetRunId") or "",
        name="output" if data_type == "CORRECTION" else body["name"],
        data_type=data_type,
        value=0.0 if word else float(value),
        text=value if word else "",
        source=body.get("source") if body.get("source") in SOURCES else "API",  # type: ignore[arg-type]
        environment=environment_name(str(body.get("environment") or "")),
        comment=body.get("comment"),
        config_id=body.get("configId"),
        queue_id=body.get("queueId"),
        author_user_id=None,
        metadata=metadata_of(body.get("metadata")),
        timestamp_ms=now_ms,
        created_ms=now_ms // 1000 * 1000,
        updated_ms=now_ms,
    )


def answer(score: ScoreRow, *, groups: Collection[str]) -> dict[str, Any]:
    """One element of `data` of `GET /v3/scores`."""
    answered: dict[str, Any] = {
        "id": score.id,
        "projectId": PROJECT_ID,
        "name": score.name,
        "source": score.source,
        "timestamp": instant(score.timestamp_ms),
        "environment": score.environment,
        "createdAt": instant(score.created_ms),
        "updatedAt": instant(score.updated_ms),
    }
    if "details" in groups:
        answered |= {
            "comment": score.comment,
            "configId": score.config_id,
            "metadata": {name: read_back(text) for name, text in score.metadata.items()},
        }
    if "annotation" in groups:
        answered |= {"authorUserId": score.author_user_id, "queueId": score.queue_id}
    if "subject" in groups:
        answered["subject"] = _subject(score)
    return answered | {"dataType": score.data_type, "value": _value(score)}


def _value(score: ScoreRow) -> Any:
    if score.data_type == "NUMERIC":
        return number(score.value)
    return score.value == 1 if score.data_type == "BOOLEAN" else score.text


def _subject(score: ScoreRow) -> dict[str, str]:
    if score.dataset_run_id:
        return {"kind": "experiment", "id": score.dataset_run_id}
    if score.observation_id:
        return {"kind": "observation", "id": score.observation_id, "traceId": score.trace_id}
    if score.session_id:
        return {"kind": "session", "id": score.session_id}
    return {"kind": "trace", "id": score.trace_id}
