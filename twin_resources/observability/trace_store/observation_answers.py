"""Build an observation as `GET /v2/observations` returns it.

Scope: the field groups, and how each represents an absent value.
Out of scope: what a span means (`observations.py`), filters and paging (`queries.py`).
Source of the behaviour: the public API of Langfuse 4.16.0, as recorded.
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
MAX_METADATA_CHARACTERS = (
    200  # characters of a metadata value that are returned without `expandMetadata`
)
DEFAULT_GROUPS = ("core", "basic")
GROUPS = (
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
    observation: Observation, *, groups: Collection[str], expand_metadata: bool = False
) -> dict[str, Any]:
    """Return one element of `data` of `GET /v2/observations`.

    Args:
        groups: field groups; `core`, latency and the model price fields are always included.
        expand_metadata: return metadata values in full instead of their first 200 characters.
    """
    row = observation
    latency = (row.end_ms - row.start_ms) / 1000
    wait = None if row.completion_ms is None else (row.completion_ms - row.start_ms) / 1000
    fields = _fields(row, max_characters=None if expand_metadata else MAX_METADATA_CHARACTERS)
    groups_wanted = [group for group in GROUPS if group == "core" or group in groups]
    document = {name: value for group in groups_wanted for name, value in fields[group].items()}
    # recorded: a duration of 0 is null if `metrics` is requested by name, and 0 by default
    is_metrics_requested = "metrics" in groups
    document["latency"] = json_number(latency) if latency or not is_metrics_requested else None
    document["timeToFirstToken"] = (
        wait if wait is None or wait or not is_metrics_requested else None
    )
    prices = ("modelId", "inputPrice", "outputPrice", "totalPrice")
    return document | dict.fromkeys(prices)


def _fields(row: Observation, *, max_characters: int | None) -> dict[str, dict[str, Any]]:
    """Return field group → fields, with metadata values cut to `max_characters`, unless None."""
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
        "usage": _usage(generation),
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


def _usage(row: GenerationFields) -> dict[str, Any]:
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
    """Sum the kinds on this side (`input`, `input_cached_tokens` …), or return None without any."""
    parts = [value for name, value in details.items() if side in name]
    return sum(parts) if parts else None
