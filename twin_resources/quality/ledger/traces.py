"""Convert a generation span that the gateway wrote into a row of the ledger.

Scope: observation → row, with personal data in texts redacted.
Out of scope: reading observations (`paged_feed.py`), the contents of a span
(`gateway/hooks/trace_logger.py`), finding the question in a prompt (`langfuse/trace_texts.py`).
API: `data` of `GET /v2/observations`, https://api.reference.langfuse.com
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twin_resources.observability.langfuse.trace_texts import (
    extract_answer,
    extract_question,
    parse_number,
    stringify_metadata,
)
from twin_resources.observability.trace_store.json_values import parse_timestamp_ms
from twin_resources.privacy import redact_text

MAX_TEXT = 20_000  # characters of a question or an answer
# Every version that answered had a probability above zero, so no real propensity is 0. Recording an
# unknown propensity as 1 once made a weighted mean treat a drawn answer as certain.
UNKNOWN_PROPENSITY = 0.0


def build_trace_row(observation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the row of `ledger_traces`, or None if the observation is not a twin's answer.

    Raises:
        KeyError, ValueError: the observation's trace id or start time is missing or invalid.
    """
    metadata = stringify_metadata(observation.get("metadata"))
    trace_id, started_ms = str(observation["traceId"]), parse_timestamp_ms(observation["startTime"])
    if observation.get("type") != "GENERATION" or not metadata.get("twin.author"):
        return None
    template = metadata.get("twin.template", "")
    return {
        "trace_id": trace_id,
        "author": metadata["twin.author"],
        "version": metadata.get("twin.version", ""),
        "prompt_class": metadata.get("twin.class", ""),
        "route": metadata.get("twin.route", ""),
        "propensity": _parse_propensity(metadata.get("twin.propensity")),
        "template": template,
        "checkpoint": metadata.get("twin.checkpoint", ""),
        "server": metadata.get("twin.server", ""),
        "reader": metadata.get("twin.reader", ""),
        "started_ms": started_ms,
        "latency_s": parse_number(observation.get("latency")),
        "cost_usd": parse_number(metadata.get("twin.cost_usd")),
        "degraded": metadata.get("twin.degraded", ""),
        "simulated": metadata.get("twin.simulated", "") == "true",
        "batch": metadata.get("twin.batch", "") == "true",
        "chunks": metadata.get("twin.chunks", ""),
        "question": redact_text(extract_question(observation.get("input"), template))[:MAX_TEXT],
        "answer": redact_text(extract_answer(observation.get("output")))[:MAX_TEXT],
    }


def _parse_propensity(value: object) -> float:
    """Return a propensity in (0, 1], or `UNKNOWN_PROPENSITY` if it is missing or invalid."""
    number = parse_number(value)
    return number if number is not None and 0.0 < number <= 1.0 else UNKNOWN_PROPENSITY
