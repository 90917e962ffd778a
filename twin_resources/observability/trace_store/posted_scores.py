"""Validate posted scores, and build the API's representation of stored scores.

Scope: the validation of a posted score, and a score's fields and field groups.
Out of scope: filters and paging (`queries.py`), storage.
Source of the behavior: recorded `POST /scores` and `GET /v3/scores` of Langfuse 4.16.0.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from twin_resources.observability.trace_store.json_values import (
    format_timestamp,
    json_number,
    parse_stored_text,
    stringify_score_metadata,
)
from twin_resources.observability.trace_store.observation_documents import PROJECT_ID
from twin_resources.observability.trace_store.observations import normalize_environment

FIELD_GROUPS = ("core", "details", "subject", "annotation")
MAX_TEXT_CHARACTERS = 500

Issue = dict[str, Any]


@dataclass(frozen=True)
class ScoreRow:
    """One row of the store. A number or boolean (0 or 1) is in `value`, other scores in `text`."""

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


class _PostedScore(BaseModel):
    """The schema of a posted score; other fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    name: str = Field(min_length=1)
    value: float | str
    dataType: Literal["NUMERIC", "CATEGORICAL", "BOOLEAN", "CORRECTION", "TEXT"] | None = None
    traceId: str | None = None
    sessionId: str | None = None
    datasetRunId: str | None = None
    observationId: str | None = None
    comment: str | None = None
    configId: None = None  # this store has no score configs
    source: Literal["API", "ANNOTATION"] | None = None  # evaluators write EVAL inside the server
    queueId: str | None = None
    id: str | None = None

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.dataType is not None and isinstance(self.value, str) == (
            self.dataType in {"NUMERIC", "BOOLEAN"}
        ):
            raise ValueError(f"a score of type {self.dataType} needs a different type of value")
        if self.dataType == "BOOLEAN" and self.value not in (0, 1):
            raise ValueError("a boolean score must be 0 or 1")
        if self.dataType == "TEXT" and not 1 <= len(str(self.value)) <= MAX_TEXT_CHARACTERS:
            raise ValueError(f"a text score must have 1 to {MAX_TEXT_CHARACTERS} characters")
        if self.source == "ANNOTATION" and self.dataType != "CORRECTION":
            raise ValueError(
                "configId is required when source is ANNOTATION (except for CORRECTION scores)."
            )
        subject_ids = [
            subject_id
            for subject_id in (self.traceId, self.sessionId, self.datasetRunId)
            if subject_id
        ]
        if len(subject_ids) != 1 or (self.observationId and not self.traceId):
            raise ValueError(
                "a score needs exactly one traceId (with or without an observationId), sessionId "
                "or datasetRunId"
            )
        return self


def validate_score(body: Any) -> list[Issue]:
    """Return the errors in a posted score, or an empty list if it is valid."""
    try:
        _PostedScore.model_validate(body)
    except ValidationError as error:
        return [
            {"code": details["type"], "path": list(details["loc"]), "message": details["msg"]}
            for details in error.errors()
        ]
    return []


def build_score_row(body: Mapping[str, Any], *, now_ms: int) -> ScoreRow:
    """Build the row of a valid posted score. Its timestamp is its arrival time, as in Langfuse."""
    value = body["value"]
    is_text = isinstance(value, str)
    data_type = str(body.get("dataType") or ("CATEGORICAL" if is_text else "NUMERIC"))
    return ScoreRow(
        id=body.get("id") or str(uuid4()),
        trace_id=body.get("traceId") or "",
        observation_id=body.get("observationId") or "",
        session_id=body.get("sessionId") or "",
        dataset_run_id=body.get("datasetRunId") or "",
        name="output" if data_type == "CORRECTION" else body["name"],
        data_type=data_type,
        value=0.0 if is_text else float(value),
        text=value if is_text else "",
        source=body.get("source") or "API",
        environment=normalize_environment(str(body.get("environment") or "")),
        comment=body.get("comment"),
        config_id=None,
        queue_id=body.get("queueId"),
        author_user_id=None,
        metadata=stringify_score_metadata(body.get("metadata")),
        timestamp_ms=now_ms,
        created_ms=now_ms // 1000 * 1000,
        updated_ms=now_ms,
    )


def build_score_document(score: ScoreRow, *, groups: Collection[str]) -> dict[str, Any]:
    """Return one element of `data` of `GET /v3/scores`."""
    document: dict[str, Any] = {
        "id": score.id,
        "projectId": PROJECT_ID,
        "name": score.name,
        "source": score.source,
        "timestamp": format_timestamp(score.timestamp_ms),
        "environment": score.environment,
        "createdAt": format_timestamp(score.created_ms),
        "updatedAt": format_timestamp(score.updated_ms),
    }
    if "details" in groups:
        document |= {
            "comment": score.comment,
            "configId": score.config_id,
            "metadata": {name: parse_stored_text(text) for name, text in score.metadata.items()},
        }
    if "annotation" in groups:
        document |= {"authorUserId": score.author_user_id, "queueId": score.queue_id}
    if "subject" in groups:
        document["subject"] = _build_subject(score)
    return document | {"dataType": score.data_type, "value": _read_value(score)}


def _read_value(score: ScoreRow) -> Any:
    if score.data_type == "NUMERIC":
        return json_number(score.value)
    return score.value == 1 if score.data_type == "BOOLEAN" else score.text


def _build_subject(score: ScoreRow) -> dict[str, str]:
    if score.dataset_run_id:
        return {"kind": "experiment", "id": score.dataset_run_id}
    if score.observation_id:
        return {"kind": "observation", "id": score.observation_id, "traceId": score.trace_id}
    if score.session_id:
        return {"kind": "session", "id": score.session_id}
    return {"kind": "trace", "id": score.trace_id}
