"""What a span of an answer says: a list of attributes that is complete, so that nothing else gets
out.

Scope: the attributes of the generation span, built from the record of the request.
Out of scope: LiteLLM's own attributes. They hold client IP, headers, user agent and key
hash; the logger in `plugin.py` writes these attributes instead of stripping those.

Attribute names: https://langfuse.com/integrations/native/opentelemetry
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.privacy import redact


def span_attributes(
    answering: RequestRecord,
    *,
    messages: Sequence[Mapping[str, Any]],
    answer: str,
    usage: Mapping[str, int],
    model_parameters: Mapping[str, Any],
    first_token_at: datetime | None = None,
    error: str = "",
) -> dict[str, str | bool]:
    """Every attribute of the generation span of one answer.

    Prompt and answer stand in it without personal data and secrets, as the ledger keeps its copy.

    Args:
        messages: the rendered prompt.
        answer: the text that came back; empty when it failed.
        usage: `input`, `output` and `total` tokens.
        model_parameters: sampling as it was sent to the model.
        first_token_at: when a stream's first token came, UTC.
        error: name of the exception when the call failed.
    """
    metadata = answering.trace_metadata()

    def clean(text: str) -> str:
        return redact(text, region=answering.author.language).text

    attributes: dict[str, str | bool] = {
        "langfuse.observation.type": "generation",
        # Its parent exists only to carry our trace id.
        "langfuse.internal.as_root": True,
        "langfuse.observation.model.name": answering.chosen.server_key,
        "langfuse.observation.input": _json(
            [
                {**message, "content": clean(str(message.get("content") or ""))}
                for message in messages
            ]
        ),
        "langfuse.observation.model.parameters": _json(model_parameters),
        "langfuse.trace.name": f"twin/{answering.asked.author}",
        "langfuse.version": answering.chosen.version,
        "user.id": answering.exchange.key.reader,
    }
    if answer:
        answer_message = {"role": "assistant", "content": clean(answer)}
        attributes["langfuse.observation.output"] = _json(answer_message)
    if usage:
        attributes["langfuse.observation.usage_details"] = _json(usage)
    if answering.cost.usd is not None:
        attributes["langfuse.observation.cost_details"] = _json({"total": answering.cost.usd})
    if first_token_at is not None:
        started = first_token_at.isoformat()
        attributes["langfuse.observation.completion_start_time"] = _json(started)
    if error:
        attributes["langfuse.observation.level"] = "ERROR"
        attributes["langfuse.observation.status_message"] = error
    for name, value in metadata.items():
        attributes[f"langfuse.trace.metadata.{name}"] = value
        attributes[f"langfuse.observation.metadata.{name}"] = value
    return attributes


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
