"""Build the JSON document of an observation that `GET /v2/observations` returns.

Scope: the field groups, and the representation of absent values in each group.
Out of scope: mapping spans to observations (`observations.py`), filters and paging (`queries.py`).
Source of the behavior: recorded responses of the public API of Langfuse 4.16.0.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from twin_resources.observability.trace_store.json_values import (
    format_timestamp,
    json_number,
    parse_stored_text,
)
from twin_resources.observability.trace_store.observations import GenerationFields, Observation

PROJECT_ID = "twin"
EMBEDDED_STORE_ID = "twin.store"  # in the project's metadata: the id of this database file
MAX_METADATA_CHARACTERS = 200  # per returned metadata value, without `expandMetadata`
DEFAULT_GROUPS = ("core", "basic")
FIELD_GROUPS = (
    *DEFAULT_GROUPS,
    "time",
    "io",
    "metadata",
    "model",
    "usage",
    "prompt",
    "metrics",
    "trace_context",
)


def build_observation_document(
    row: Observation, *, groups: Collection[str], expand_metadata: bool = False
) -> dict[str, Any]:
    """Return one element of `data` of `GET /v2/observations`.

    Args:
        groups: the field groups; `core`, latency and the model price fields are always included.
        expand_metadata: whether to return metadata values in full instead of 200 characters.
    """
    latency_s = (row.end_ms - row.start_ms) / 1000
    first_token_s = None if row.completion_ms is None else (row.completion_ms - row.start_ms) / 1000
    fields = _build_fields(row, max_characters=None if expand_metadata else MAX_METADATA_CHARACTERS)
    included_groups = [group for group in FIELD_GROUPS if group == "core" or group in groups]
    document = {name: value for group in included_groups for name, value in fields[group].items()}
    # Langfuse returns a duration of 0 as null if `metrics` is requested by name, otherwise as 0.
    is_metrics_requested = "metrics" in groups
    document["latency"] = json_number(latency_s) if latency_s or not is_metrics_requested else None
    document["timeToFirstToken"] = (
        first_token_s
        if first_token_s is None or first_token_s or not is_metrics_requested
        else None
    )
    price_fields = ("modelId", "inputPrice", "outputPrice", "totalPrice")
    return document | dict.fromkeys(price_fields)


def _build_fields(row: Observation, *, max_characters: int | None) -> dict[str, dict[str, Any]]:
    """Return the fields by field group; truncate metadata values to `max_characters` if set."""
    trace, generation = row.trace, row.generation
    return {
        "core": {
            "id": row.id,
            "traceId": row.trace_id,
            "startTime": format_timestamp(row.start_ms),
            "endTime": format_timestamp(row.end_ms),
            "projectId": PROJECT_ID,
            "parentObservationId": row.parent_id or None,
            "type": row.type,
        },
        "basic": {
            "name": row.name,
            "level": row.level,
            "statusMessage": row.status_message,
            "version": row.version,
            "environment": row.environment,
            "userId": trace.user_id,
            "sessionId": trace.session_id,
            "isRootObservation": row.is_root,
            "bookmarked": False,
            "public": trace.public,
        },
        "time": {
            "completionStartTime": format_timestamp(row.completion_ms),
            "createdAt": format_timestamp(row.created_ms),
            "updatedAt": format_timestamp(row.updated_ms),
        },
        "io": {"input": row.input, "output": row.output},
        "metadata": {
            "metadata": {
                name: parse_stored_text(text[:max_characters])
                for name, text in row.metadata.items()
            }
        },
        "model": {
            "model": generation.model,
            "internalModelId": "",  # this store has no price list
            "modelParameters": dict(generation.model_parameters),
        },
        "usage": _build_usage_fields(generation),
        "prompt": {
            "promptId": "",
            "promptName": generation.prompt_name,
            "promptVersion": generation.prompt_version,
        },
        "metrics": {},
        "trace_context": {
            "traceName": trace.trace_name or (row.name if row.is_root else "") or None,
            "release": trace.release,
            "tags": list(trace.tags),
        },
    }


def _build_usage_fields(row: GenerationFields) -> dict[str, Any]:
    usage, cost = row.usage, row.cost
    return {
        "usageDetails": {name: json_number(value) for name, value in usage.items()},
        "inputUsage": json_number(_sum(usage, "input") or 0),
        "outputUsage": json_number(_sum(usage, "output") or 0),
        "totalUsage": json_number(usage.get("total", 0)),
        "costDetails": {name: json_number(value) for name, value in cost.items()},
        "inputCost": _sum(cost, "input"),
        "outputCost": _sum(cost, "output"),
        "totalCost": json_number(cost.get("total", 0)),
        "usagePricingTierId": None,
        "usagePricingTierName": None,
    }


def _sum(details: Mapping[str, float], side: str) -> float | None:
    """Sum the values whose names contain `side` (`input` or `output`); None if none do."""
    parts = [value for name, value in details.items() if side in name]
    return sum(parts) if parts else None
