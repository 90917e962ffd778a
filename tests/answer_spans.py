"""Build answer spans in the gateway's OTLP JSON format, and export them to a trace store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import httpx


def answer_span(
    number: int,
    started_at: datetime,
    *,
    attributes: Mapping[str, str] = MappingProxyType({}),
    **metadata: str,
) -> dict[str, Any]:
    """Return the generation span of an answer. Names in `metadata` omit the prefix `twin.`."""
    fields = {"version": "v1", "class": "short"} | metadata
    values = {"langfuse.observation.type": "generation"} | dict(attributes)
    values |= {f"langfuse.observation.metadata.twin.{name}": fields[name] for name in fields}
    nanoseconds = int(started_at.timestamp() * 1e9)
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{number:016x}",
        "name": "answer",
        "startTimeUnixNano": str(nanoseconds),
        "endTimeUnixNano": str(nanoseconds + 5_000_000),
        "attributes": [{"key": key, "value": {"stringValue": values[key]}} for key in values],
    }


def export_spans(http: httpx.Client, *spans: dict[str, Any]) -> None:
    body = {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}
    response = http.post("/api/public/otel/v1/traces", json=body)
    assert response.status_code == 200, response.text
