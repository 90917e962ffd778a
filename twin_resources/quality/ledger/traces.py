"""A trace as the ledger keeps it, from the generation span that the gateway wrote.

Scope: observation → row; what of it is text, without personal data.
Out of scope: reading observations (`paged_feed.py`), what a span says
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
# Who has answered had a chance above zero, so nobody's propensity is this. It was taken for 1 once,
# and a weighted mean believed that a drawn answer had been certain.
UNKNOWN_PROPENSITY = 0.0


def trace_row(observation: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of `ledger_traces`; None: not an answer of a twin.

    Raises:
        KeyError, ValueError: an observation without trace id or start: not this API's answer.
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
    """In (0, 1], or unknown: missing, no number, no probability."""
    number = number_of(value)
    return number if number is not None and 0.0 < number <= 1.0 else UNKNOWN_PROPENSITY
