"""Answers that no model writes, as documents of the chat API: quotations, the front desk, a refused
topic.

Scope: the whole answer, the chunks of a stream, and their bytes.
Out of scope: what the text says (`request_path.py`), sending it (`preparation.py`).

Shapes: https://platform.openai.com/docs/api-reference/chat/object and …/chat/streaming
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
"""No model has read or written anything."""
DONE = b"data: [DONE]\n\n"


def whole_answer(answering: RequestRecord, text: str) -> dict[str, Any]:
    """A `chat.completion` with this text."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if answering.quotes:
        message["annotations"] = answering.citations
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        **_head(answering, "chat.completion"),
        "choices": [choice],
        "usage": dict(NO_USAGE),
        "twin": answering.twin_field(),
    }


def chunk(
    answering: RequestRecord, delta: Mapping[str, Any], *, finish_reason: str | None = None
) -> dict[str, Any]:
    """A `chat.completion.chunk` with this delta and the field `twin`."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish_reason}
    return {
        **_head(answering, "chat.completion.chunk"),
        "choices": [choice],
        "twin": answering.twin_field(),
    }


def stream_end(answering: RequestRecord) -> bytes:
    """The events behind the text: the last chunk, the usage where it was asked for, the mark."""
    delta = {"annotations": answering.citations} if answering.quotes else {}
    events = [chunk(answering, delta, finish_reason="stop")]
    if answering.asked.include_usage:
        usage = {"choices": list[object](), "usage": dict(NO_USAGE)}
        events.append({**_head(answering, "chat.completion.chunk"), **usage})
    return b"".join(map(event_bytes, events)) + DONE


def event_bytes(document: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()


def _head(answering: RequestRecord, kind: str) -> dict[str, Any]:
    return {
        "id": answering.completion_id,
        "object": kind,
        "created": int(time.time()),
        "model": answering.asked.model,
        "system_fingerprint": answering.chosen.version,
    }
