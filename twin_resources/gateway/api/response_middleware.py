"""What the allow-list changes on the way out: headers of every answer, answers of other APIs.

Scope: wrapping an ASGI `send`.
Out of scope: what another API's answer looks like (`other_apis.py`), which routes there are
(`routes.py`).

Interface: https://asgi.readthedocs.io/en/latest/specs/www.html, events:
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""
# pyright: strict

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from twin_resources.gateway.api.other_apis import AnswerConverter

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# What LiteLLM tells its own operators: versions, addresses of model servers, spend.
_HIDDEN = (b"x-litellm-", b"llm_provider-", b"x-ratelimit-")
_REQUEST_ID, _RETRY_AFTER = b"x-request-id", b"retry-after"
_TRACE = b"x-twin-trace-id"
# A model server that restarts is back in about two seconds, a queue has a place sooner.
RETRY_AFTER_S = b"2"


def dressed(send: Send, *, request_id: str, headers: Headers) -> Send:
    """Every answer: without LiteLLM's headers, with an id, `Retry-After` where asking again helps.

    Args:
        request_id: of an answer without a trace; one with a trace has that as its id, so that a
            client's log leads to it.
        headers: added.
    """

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers_left = [
                (bytes(name).lower(), value)
                for name, value in message.get("headers", [])
                if not bytes(name).lower().startswith((*_HIDDEN, _REQUEST_ID))
            ]
            there = dict(headers_left)
            headers_left.append((_REQUEST_ID, there.get(_TRACE, request_id.encode())))
            if message["status"] in {429, 503} and _RETRY_AFTER not in there:
                headers_left.append((_RETRY_AFTER, RETRY_AFTER_S))
            message["headers"] = [*headers_left, *headers]
        await send(message)

    return tell


def carried_back(send: Send, back: AnswerConverter) -> Send:
    """Answers of the chat API as another API gives them; refusals pass as they are."""
    start: Message = {}
    waiting = bytearray()
    kind = ""

    async def tell(message: Message) -> None:
        nonlocal start, kind
        if message["type"] == "http.response.start":
            start = message
            headers = {bytes(name).lower(): value for name, value in message.get("headers", [])}
            stream = headers.get(b"content-type", b"").startswith(b"text/event-stream")
            kind = "" if message["status"] != 200 else "stream" if stream else "whole"
            if kind != "whole":
                await send(message)
            return
        body = cast(bytes, message.get("body", b""))
        if kind == "stream":
            waiting.extend(body)
            pieces, has_ended = _events(waiting, back)
            if has_ended:  # before its last piece: who has all of it may name it anywhere
                await asyncio.to_thread(back.remember)
            events = b"".join(pieces)
            more = bool(message.get("more_body", False))
            if events or not more:
                await send(dict(message) | {"body": events})
        elif kind == "whole":
            waiting.extend(body)
            if not message.get("more_body", False):
                answer = json.dumps(back.whole(json.loads(waiting)), ensure_ascii=False).encode()
                length = (b"content-length", str(len(answer)).encode())
                start["headers"] = [
                    *(one for one in start["headers"] if bytes(one[0]).lower() != length[0]),
                    length,
                ]
                await asyncio.to_thread(back.remember)
                await send(start)
                await send({"type": "http.response.body", "body": answer})
        else:
            await send(message)

    return tell


def _events(waiting: bytearray, back: AnswerConverter) -> tuple[list[bytes], bool]:
    """The events that are complete, as the other API sends them, and whether the stream ends with
    them; the rest goes on waiting."""
    events: list[bytes] = []
    has_ended = False
    while (end := waiting.find(b"\n\n")) >= 0:
        event = bytes(waiting[:end])
        del waiting[: end + 2]
        data = event.partition(b"data:")[2].strip()
        if data == b"[DONE]":
            events += [piece.encode() for piece in back.end()]
            has_ended = True
        elif data:
            events += [piece.encode() for piece in back.piece(json.loads(data))]
        else:
            events.append(event + b"\n\n")  # a comment that keeps the connection open
    return events, has_ended
