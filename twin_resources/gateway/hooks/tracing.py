"""Build all attributes of an answer's span, so that a trace contains no others.

Scope: the attributes of the generation span, built from the record of the request.
Out of scope: LiteLLM's own attributes, which contain the client's address, headers, user agent
and key hash. The logger in `trace_logger.py` writes these attributes in their place.

Attribute names: https://langfuse.com/integrations/native/opentelemetry
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from importlib.metadata import version as installed_version
from typing import Any

from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.privacy import redact


def span_attributes(
    record: RequestRecord,
    *,
    messages: Sequence[Mapping[str, Any]],
    answer: str,
    usage: Mapping[str, int],
    model_parameters: Mapping[str, Any],
    first_token_at: datetime | None = None,
    error: str = "",
    environment: str = "",
) -> dict[str, str | bool | list[str]]:
    """Return every attribute of the generation span of one answer.

    Personal data and secrets are removed from the prompt and the answer, as in the ledger's copy.

    Args:
        record: the record of the request.
        messages: the rendered prompt.
        answer: the text of the answer; empty if the call failed.
        usage: `input`, `output` and `total` tokens.
        model_parameters: sampling parameters as they were sent to the model.
        first_token_at: time of a stream's first token, UTC.
        error: name of the exception if the call failed.
        environment: the Langfuse environment; empty means `default`.
    """

    def redact_text(text: str) -> str:
        return redact(text, region=record.author.language).text

    attributes: dict[str, str | bool | list[str]] = {
        "langfuse.observation.type": "generation",
        # The parent span exists only to set the trace id.
        "langfuse.internal.as_root": True,
        "langfuse.observation.model.name": record.decision.server_key,
        "langfuse.observation.input": _to_json(
            [
                {**message, "content": redact_text(str(message.get("content") or ""))}
                for message in messages
            ]
        ),
        "langfuse.observation.model.parameters": _to_json(model_parameters),
        "langfuse.trace.name": f"twin/{record.chat_request.author}",
        "langfuse.trace.tags": _list_tags(record),
        "langfuse.version": record.decision.version,
        "langfuse.release": f"llm-twin {installed_version('llm-twin')}",
        "user.id": record.exchange.key.reader,
        "session.id": _make_session_id(record, datetime.now(UTC).date()),
    }
    if environment:
        attributes["langfuse.environment"] = environment
    if answer:
        answer_message = {"role": "assistant", "content": redact_text(answer)}
        attributes["langfuse.observation.output"] = _to_json(answer_message)
    if usage:
        attributes["langfuse.observation.usage_details"] = _to_json(usage)
    if record.cost.usd is not None:
        attributes["langfuse.observation.cost_details"] = _to_json({"total": record.cost.usd})
    if first_token_at is not None:
        first_token_time = first_token_at.isoformat()
        attributes["langfuse.observation.completion_start_time"] = _to_json(first_token_time)
    if error:
        attributes["langfuse.observation.level"] = "ERROR"
        attributes["langfuse.observation.status_message"] = error
    # Langfuse shows the metadata of the outermost observation as the trace's.
    for name, value in record.trace_metadata().items():
        if value:
            attributes[f"langfuse.observation.metadata.{name}"] = value
    return attributes


def _list_tags(record: RequestRecord) -> list[str]:
    """Return what a person filters answers by in Langfuse's list."""
    tags = [
        record.chat_request.author,
        f"question: {record.chat_request.prompt_class}",
        f"answer: {record.answer_form}",
    ]
    if record.chat_request.is_batch:
        tags.append("batch")
    return [*tags, "degraded"] if record.degraded else tags


def _make_session_id(record: RequestRecord, today: date) -> str:
    """Return an id that the turns of one conversation share.

    The API has no conversations: a client sends all turns each time. The reader, the day and the
    first question therefore tell conversations apart; the same first question on the same day by
    the same reader is taken for the same conversation.
    """
    first_question = next(
        (turn["content"] for turn in record.chat_request.history if turn["role"] == "user"),
        record.chat_request.question,
    )
    parts = (
        record.chat_request.author,
        record.exchange.key.reader,
        today.isoformat(),
        first_question,
    )
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
