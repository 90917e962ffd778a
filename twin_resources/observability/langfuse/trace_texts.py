"""Question and answer of a span, read back from its input and output.

Scope: the inverse of rendering, of any JSON that a store answers. Out of scope:
rendering (`prompt/templates.py`), what of it may be kept (`ledger/traces.py`).
"""
# pyright: strict

from __future__ import annotations

import json
import math
from typing import Any, cast

from twin_resources.prompt.templates import DEFAULT_TEMPLATE, TEMPLATES


def question_of(prompt: object, template_hash: str) -> str:
    """The reader's question in a rendered prompt (messages, or their JSON); "" when there is none.

    Args:
        template_hash: the template that it was rendered with; unknown: the default one's words.
    """
    messages = messages_of(prompt)
    if not messages:
        return ""
    content = messages[-1][1]
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


def messages_of(prompt: object) -> list[tuple[str, str]]:
    """(role, content) of a prompt's messages; of anything else none."""
    parsed = _parsed(prompt)
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


def flat_facts(metadata: object) -> dict[str, str]:
    """Metadata values are read back as JSON where they look like it: make them text again."""
    if not isinstance(metadata, dict):
        return {}
    entries = cast(dict[str, Any], metadata)
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in entries.items()
        if value is not None
    }


def number_of(value: object) -> float | None:
    """A finite number, also one that came as text; None: there is none."""
    if value is None or value == "":
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _parsed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
