"""Converts a generation span that the gateway wrote into a row of the ledger.

Scope: observation → row; personal data in texts is replaced.
Out of scope: reading observations (`paged_feed.py`), the contents of a span
(`gateway/hooks/tracing.py`), finding the question in a prompt (`langfuse/trace_texts.py`).
API: `data` of `GET /v2/observations`, https://api.reference.langfuse.com
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twin_resources.observability.langfuse.trace_texts import (
    answer_of,
    flat_facts,
    number_of,
    question_of,
)
from twin_resources.observability.trace_store.json_values import milliseconds_of
from twin_resources.privacy import replace_personal

MAX_TEXT = 20_000  # characters of a question or an answer
# Every version that answered had a probability above zero, so no real propensity is 0. Unknown was
# once recorded as 1, and a weighted mean treated a drawn answer as certain.
UNKNOWN_PROPENSITY = 0.0


def trace_row(observation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the row of `ledger_traces`, or None if the observation is not a twin's answer.

    Raises:
        KeyError, ValueError: the observation's trace id or start is missing or invalid.
    """
    facts = flat_facts(observation.get("metadata"))
    trace_id, started_ms = str(observation["traceId"]), milliseconds_of(observation["startTime"])
    if observation.get("type") != "GENERATION" or not facts.get("twin.author"):
        return None
    template = facts.get("twin.template", "")
    return {
        "trace_id": trace_id,
        "author": facts["twin.author"],
        "version": facts.get("twin.version", ""),
        "prompt_class": facts.get("twin.class", ""),
        "route": facts.get("twin.route", ""),
        "propensity": _propensity(facts.get("twin.propensity")),
        "template": template,
        "checkpoint": facts.get("twin.checkpoint", ""),
        "server": facts.get("twin.server", ""),
        "reader": facts.get("twin.reader", ""),
        "started_ms": started_ms,
        "latency_s": number_of(observation.get("latency")),
        "cost_usd": number_of(facts.get("twin.cost_usd")),
        "degraded": facts.get("twin.degraded", ""),
        "simulated": facts.get("twin.simulated", "") == "true",
        "batch": facts.get("twin.batch", "") == "true",
        "chunks": facts.get("twin.chunks", ""),
        "question": replace_personal(question_of(observation.get("input"), template))[:MAX_TEXT],
        "answer": replace_personal(answer_of(observation.get("output")))[:MAX_TEXT],
    }


def _propensity(value: object) -> float:
    """Return a propensity in (0, 1], or `UNKNOWN_PROPENSITY` if it is missing or invalid."""
    number = number_of(value)
    return number if number is not None and 0.0 < number <= 1.0 else UNKNOWN_PROPENSITY
