"""The opening of a streamed answer goes out before a model is asked.

Belongs here: the ASGI application directly around LiteLLM's, which lets the plugin begin the answer
in the middle of a request, and what then becomes of LiteLLM's own beginning, or of its error.
Does not belong here: what the opening says (`request_record.py`), when it is ready (`plugin.py`),
its span (`trace_logger.py`).

LiteLLM writes nothing before the model server has answered: the quotation waited .06 to 19 s for
it. Where no prose comes the quotation stays, and the answer says so and ends as every other does: a
client that has shown it could do nothing with an error.

Interface: https://asgi.readthedocs.io/en/latest/specs/www.html
"""
# pyright: strict

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from twin_resources.gateway.idempotency import UNFINISHED, Message, Receive, Send
from twin_resources.gateway.request_record import RequestRecord

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Messages = Sequence[Mapping[str, Any]]
LogOpening = Callable[[RequestRecord, Messages], None]

READER_LEFT = 499
"""LiteLLM's status of a call that it cancelled because the client was gone."""
LEFT = "the reader left before the prose"
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy on the way would wait for more
)
_current: ContextVar[EarlyOpening] = ContextVar("early_opening")


@dataclass
class EarlyOpening:
    """One answer, which may be begun before LiteLLM begins it.

    Attributes:
        send: to the reader.
        answering: of the answer that was begun; None: none was, and LiteLLM's passes as it is.
        messages: the prompt, for the trace.
    """

    send: Send
    answering: RequestRecord | None = None
    messages: Messages = ()
    _text: str = ""
    _created: int = field(default_factory=lambda: int(time.time()))
    _failed: int = 0  # LiteLLM's status; 0: it has not failed
    _is_over: bool = False

    async def begin(self, answering: RequestRecord, messages: Messages, text: str) -> None:
        """Write the head of the answer and its first event."""
        self.answering, self.messages, self._text = answering, messages, text
        answering.is_opened = True
        told = ((name.encode(), value.encode()) for name, value in answering.headers().items())
        headers = [*_HEADERS, *told]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        delta = {"role": "assistant", "content": text}
        chunk = self._chunk(answering, {"delta": delta, "finish_reason": None})
        await self.send({"type": "http.response.body", "body": _event(chunk), "more_body": True})

    async def pass_on(self, message: Message) -> None:
        """LiteLLM's answer, without its head where the reader has one."""
        if self.answering is None:
            await self.send(message)
        elif message["type"] == "http.response.start":
            self._failed = 0 if message["status"] == 200 else int(message["status"])
        elif not self._failed:
            self._is_over = not message.get("more_body", False)
            await self.send(message)
        elif self._failed != READER_LEFT and not message.get("more_body", False):
            await self.send(self._ending(self.answering))

    def end(self, log: LogOpening) -> None:
        """The request is over, or its reader has left; what LiteLLM tells nobody is told here."""
        answering = self.answering
        if answering is None:
            return
        answering.end(0)  # unless its end has come
        if answering.is_prose_begun or (self._is_over and not self._failed):
            return  # LiteLLM has logged it, or is about to
        if answering.bought is not None:
            answering.bought.left()
        answering.shown = self._text
        if self._failed in {0, READER_LEFT}:
            answering.stands_without_prose(LEFT)
        log(answering, self.messages)

    def _ending(self, answering: RequestRecord) -> Message:
        """The end of an answer whose prose does not come."""
        server, status = answering.chosen.server_key, self._failed
        what = "refused the prompt" if status < 500 else "does not answer"
        answering.stands_without_prose(f"no prose: the model server {server!r} {what}")
        events = [self._chunk(answering, {"delta": {}, "finish_reason": "stop"})]
        if answering.asked.include_usage:
            nothing = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0)
            event = {name: value for name, value in events[0].items() if name != "twin"}
            events.append(event | {"choices": list[object](), "usage": nothing})
        body = b"".join(map(_event, events)) + b"data: [DONE]\n\n"
        return {"type": "http.response.body", "body": body, "more_body": False, UNFINISHED: True}

    def _chunk(self, answering: RequestRecord, choice: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": answering.completion_id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": answering.asked.model,
            "system_fingerprint": answering.chosen.version,
            "choices": [{"index": 0, **choice}],
            "twin": answering.twin_field(),
        }


@dataclass(frozen=True)
class OpeningFirst:
    """LiteLLM's application, whose answers may be begun before it begins them.

    Attributes:
        log: writes the span of an answer of which nothing but the opening went out.
    """

    proxy: Application
    log: LogOpening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.proxy(scope, receive, send)
            return
        opening = EarlyOpening(send)
        token = _current.set(opening)
        try:
            await self.proxy(scope, receive, opening.pass_on)
        finally:
            _current.reset(token)
            opening.end(self.log)


async def begin_answer(answering: RequestRecord, messages: Messages, text: str) -> None:
    """Begin the answer to the request that this task works on.

    Raises:
        LookupError: it did not come through `OpeningFirst`.
    """
    await _current.get().begin(answering, messages, text)


def _event(chunk: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()
