"""Extract the question and the answer from a span's input and output.

Scope: the inverse of rendering a prompt, for any JSON that a store returns. Out of scope: rendering
(`prompt/templates.py`), storing the texts (`ledger/traces.py`).
"""
# pyright: strict

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from twin_resources.prompt.templates import DEFAULT_TEMPLATE, TEMPLATES


def extract_question(prompt: object, template_hash: str) -> str:
    """Return the reader's question in a rendered prompt (messages or their JSON), or "".

    Args:
        template_hash: the hash of the prompt's template; an unknown hash selects the default.
    """
    messages = extract_messages(prompt)
    if not messages:
        return ""
    content = messages[-1][1]
    template = TEMPLATES.get(template_hash, DEFAULT_TEMPLATE)
    question_prefix = template.question.split("{question}")[0]
    question_split = content.rpartition(f"\n\n{question_prefix}")
    if question_split[1]:
        return question_split[2].strip()
    return content.removeprefix(template.bare_question.split("{question}")[0]).strip()


def extract_answer(output: object) -> str:
    """Return the text of an answer (`{"role", "content"}`, its JSON, or plain text)."""
    parsed = _parse_json(output)
    if isinstance(parsed, dict):
        return str(cast(dict[str, Any], parsed).get("content") or "").strip()
    return str(parsed or "").strip()


def extract_messages(prompt: object) -> list[tuple[str, str]]:
    """Return the role and content of each prompt message; an empty list for anything else."""
    parsed = _parse_json(prompt)
    if not isinstance(parsed, list):
        return []
    messages: list[tuple[str, str]] = []
    for message in cast(list[Any], parsed):
        if isinstance(message, dict):
            fields = cast(dict[str, Any], message)
            messages.append((str(fields.get("role") or ""), str(fields.get("content") or "")))
        else:
            messages.append(("", ""))
    return messages


def stringify_metadata(metadata: object) -> dict[str, str]:
    """Convert metadata values to text, because stores parse values that look like JSON."""
    if not isinstance(metadata, dict):
        return {}
    entries = cast(dict[str, Any], metadata)
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in entries.items()
        if value is not None
    }


def score_trace_id(score: Mapping[str, Any]) -> str:
    """Return the id of the trace that a score of `GET /v3/scores` rates, or ""."""
    subject: Mapping[str, Any] = score.get("subject") or {}
    subject_id = subject.get("id") if subject.get("kind") == "trace" else ""
    return str(subject.get("traceId") or subject_id or "")


def parse_number(value: object) -> float | None:
    """Return a number or numeric text as a float, or None if it is not a finite number."""
    if value is None or value == "":
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _parse_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
