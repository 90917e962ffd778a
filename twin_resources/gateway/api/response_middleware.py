"""Change outgoing answers: the headers of each answer, and the format for the other APIs.

Scope: wrapping an ASGI `send`.
Out of scope: the format of another API's answer (`other_apis.py`), and the list of routes
(`routes.py`).

Interface: https://asgi.readthedocs.io/en/latest/specs/www.html, events:
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""
# pyright: strict

from __future__ import annotations

import asyncio
import json
from typing import cast

from starlette.types import Message, Send

from twin_resources.gateway.api.other_apis import AnswerConverter

# LiteLLM's headers for its operators: versions, addresses of model servers, spend.
_HIDDEN_HEADER_PREFIXES = (b"x-litellm-", b"llm_provider-", b"x-ratelimit-")
_REQUEST_ID, _RETRY_AFTER = b"x-request-id", b"retry-after"
_TRACE_ID_HEADER = b"x-twin-trace-id"
# A model server restarts in about two seconds, and a queue has a free place sooner.
RETRY_AFTER_S = b"2"


def add_answer_headers(send: Send, *, request_id: str) -> Send:
    """Wrap `send` to remove LiteLLM's headers, and add an id and, on 429 and 503, `Retry-After`.

    Args:
        request_id: the id of an answer without a trace. An answer with a trace uses the trace id,
            so that a client's log leads to the trace.
    """

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept_headers = [
                (bytes(name).lower(), value)
                for name, value in message.get("headers", [])
                if not bytes(name).lower().startswith((*_HIDDEN_HEADER_PREFIXES, _REQUEST_ID))
            ]
            headers_by_name = dict(kept_headers)
            kept_headers.append(
                (_REQUEST_ID, headers_by_name.get(_TRACE_ID_HEADER, request_id.encode()))
            )
            if message["status"] in {429, 503} and _RETRY_AFTER not in headers_by_name:
                kept_headers.append((_RETRY_AFTER, RETRY_AFTER_S))
            message["headers"] = kept_headers
        await send(message)

    return send_with_headers


def convert_answers(send: Send, converter: AnswerConverter) -> Send:
    """Wrap `send` to convert chat answers to another API's format; refusals stay unchanged."""
    start_message: Message = {}
    buffer = bytearray()
    answer_type = ""

    async def convert_and_send(message: Message) -> None:
        nonlocal start_message, answer_type
        if message["type"] == "http.response.start":
            start_message = message
            headers = {bytes(name).lower(): value for name, value in message.get("headers", [])}
            is_stream = headers.get(b"content-type", b"").startswith(b"text/event-stream")
            answer_type = "" if message["status"] != 200 else "stream" if is_stream else "whole"
            if answer_type != "whole":
                await send(message)
            return
        body = cast(bytes, message.get("body", b""))
        if answer_type == "stream":
            buffer.extend(body)
            pieces, has_ended = _convert_events(buffer, converter)
            # The answer is stored before the last chunk is sent, because a client that has that
            # chunk may name the answer to any gateway.
            if has_ended:
                await asyncio.to_thread(converter.store_answer)
            events = b"".join(pieces)
            has_more = bool(message.get("more_body", False))
            if events or not has_more:
                await send(dict(message) | {"body": events})
        elif answer_type == "whole":
            buffer.extend(body)
            if not message.get("more_body", False):
                answer = json.dumps(
                    converter.convert_answer(json.loads(buffer)), ensure_ascii=False
                ).encode()
                length = (b"content-length", str(len(answer)).encode())
                start_message["headers"] = [
                    pair for pair in start_message["headers"] if bytes(pair[0]).lower() != length[0]
                ] + [length]
                await asyncio.to_thread(converter.store_answer)
                await send(start_message)
                await send({"type": "http.response.body", "body": answer})
        else:
            await send(message)

    return convert_and_send


def _convert_events(buffer: bytearray, converter: AnswerConverter) -> tuple[list[bytes], bool]:
    """Remove the complete events from the buffer and convert them to the other API's format.

    Returns:
        The converted events, and whether the stream ends with them.
    """
    events: list[bytes] = []
    has_ended = False
    while (end := buffer.find(b"\n\n")) >= 0:
        event = bytes(buffer[:end])
        del buffer[: end + 2]
        data = event.partition(b"data:")[2].strip()
        if data == b"[DONE]":
            events += converter.end_events()
            has_ended = True
        elif data:
            events += converter.convert_chunk(json.loads(data))
        else:
            events.append(event + b"\n\n")  # a comment that keeps the connection open
    return events, has_ended
