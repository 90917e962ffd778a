"""A trace as the ledger keeps it, from the generation span that the gateway wrote.

Belongs here: observation → row; what of it is text, without personal data.
Does not belong here: reading observations (`feed.py`), what a span says (`gateway/tracing.py`).
API: `data` of `GET /v2/observations`, https://api.reference.langfuse.com
"""
# pyright: strict

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from twin_resources.langfuse.json_values import milliseconds_of
from twin_resources.privacy import replace_personal
from twin_resources.prompt import DEFAULT_TEMPLATE, TEMPLATES

MOST_TEXT = 20_000  # characters of a question or an answer


def trace_row(observation: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of `ledger_traces`; None: not an answer of a twin.

    Raises:
        KeyError, ValueError: an observation without trace id or start: not this API's answer.
    """
    facts = _facts(observation.get("metadata"))
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
        "propensity": _number(facts.get("twin.propensity")) or 1.0,
        "template": template,
        "checkpoint": facts.get("twin.checkpoint", ""),
        "server": facts.get("twin.server", ""),
        "reader": facts.get("twin.reader", ""),
        "started_ms": started_ms,
        "latency_s": _number(observation.get("latency")),
        "cost_usd": _number(facts.get("twin.cost_usd")),
        "degraded": facts.get("twin.degraded", ""),
        "simulated": facts.get("twin.simulated", "") == "true",
        "chunks": facts.get("twin.chunks", ""),
        "question": replace_personal(question_of(observation.get("input"), template))[:MOST_TEXT],
        "answer": replace_personal(answer_of(observation.get("output")))[:MOST_TEXT],
    }


def question_of(prompt: object, template_hash: str) -> str:
    """The reader's question in a rendered prompt (messages, or their JSON); "" when there is none.

    Args:
        template_hash: the template that it was rendered with; unknown: the default one's words.
    """
    messages = _parsed(prompt)
    if not isinstance(messages, list) or not messages:
        return ""
    last: Any = cast(list[Any], messages)[-1]
    content = str(cast(dict[str, Any], last).get("content") or "") if isinstance(last, dict) else ""
    template = TEMPLATES.get(template_hash, DEFAULT_TEMPLATE)
    before = template.question.split("{question}")[0]
    after_passages = content.rpartition(f"\n\n{before}")
    if after_passages[1]:
        return after_passages[2].strip()
    return content.removeprefix(template.bare_question.split("{question}")[0]).strip()


def answer_of(output: object) -> str:
    """The text of an answer (`{"role", "content"}`, its JSON, or plain text)."""
    parsed = _parsed(output)
    if isinstance(parsed, dict):
        return str(cast(dict[str, Any], parsed).get("content") or "").strip()
    return str(parsed or "").strip()


def _parsed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _facts(metadata: object) -> dict[str, str]:
    """Metadata values are read back as JSON where they look like it: make them text again."""
    if not isinstance(metadata, dict):
        return {}
    entries = cast(dict[str, Any], metadata)
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in entries.items()
        if value is not None
    }


def _number(value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
