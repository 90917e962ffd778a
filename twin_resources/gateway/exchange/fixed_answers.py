"""Format fixed answers as documents of the chat API: quotations, front desk, refused topics.

Scope: the complete answer, the chunks of a stream, and their bytes.
Out of scope: the text of an answer (`request_path.py`), sending it (`preparation.py`).

Formats: https://platform.openai.com/docs/api-reference/chat/object and …/chat/streaming
"""
# pyright: strict

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from twin_resources.gateway.exchange.request_record import RequestRecord

NO_USAGE: Mapping[str, int] = MappingProxyType(
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
)
"""Token usage of an answer that no model wrote."""
DONE_EVENT = b"data: [DONE]\n\n"


def completion_document(record: RequestRecord, text: str) -> dict[str, Any]:
    """Return a `chat.completion` with this text."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if record.quotes:
        message["annotations"] = record.citations
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        **_common_fields(record, "chat.completion"),
        "choices": [choice],
        "usage": dict(NO_USAGE),
        "twin": record.twin_field(),
    }


def chunk_document(
    record: RequestRecord, delta: Mapping[str, Any], *, finish_reason: str | None = None
) -> dict[str, Any]:
    """Return a `chat.completion.chunk` with this delta and the field `twin`."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish_reason}
    return {
        **_common_fields(record, "chat.completion.chunk"),
        "choices": [choice],
        "twin": record.twin_field(),
    }


def final_events(record: RequestRecord) -> bytes:
    """Return the events after the text: the last chunk, the usage if requested, and `[DONE]`."""
    delta = {"annotations": record.citations} if record.quotes else {}
    events = [chunk_document(record, delta, finish_reason="stop")]
    if record.chat_request.include_usage:
        usage_fields = {"choices": list[object](), "usage": dict(NO_USAGE)}
        events.append({**_common_fields(record, "chat.completion.chunk"), **usage_fields})
    return b"".join(map(encode_event, events)) + DONE_EVENT


def encode_event(document: Mapping[str, Any]) -> bytes:
    """Return a server-sent event."""
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()


def _common_fields(record: RequestRecord, object_type: str) -> dict[str, Any]:
    return {
        "id": record.completion_id,
        "object": object_type,
        "created": int(time.time()),
        "model": record.chat_request.model,
        "system_fingerprint": record.decision.version,
    }
