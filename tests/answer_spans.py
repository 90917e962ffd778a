"""Spans of answers as the gateway exports them, in OTLP's JSON, and their export."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import httpx


def answer_span(
    number: int,
    at: datetime,
    *,
    attributes: Mapping[str, str] = MappingProxyType({}),
    **metadata: str,
) -> dict[str, Any]:
    """The generation span of one answer; `metadata` without the prefix `twin.`."""
    fields = {"version": "v1", "class": "short"} | metadata
    values = {"langfuse.observation.type": "generation"} | dict(attributes)
    values |= {f"langfuse.observation.metadata.twin.{name}": fields[name] for name in fields}
    nanoseconds = int(at.timestamp() * 1e9)
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
    answer = http.post("/api/public/otel/v1/traces", json=body)
    assert answer.status_code == 200, answer.text
