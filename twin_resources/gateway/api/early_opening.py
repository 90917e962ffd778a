"""The opening of a streamed answer goes out before a model is asked.

Scope: what goes out before LiteLLM's answer, and what then becomes of LiteLLM's own
beginning, or of its error.
Out of scope: what the opening says (`request_record.py`), when it goes out
(`preparation.py`), its span (`trace_logger.py`).

LiteLLM writes nothing before the model server has answered: the quotation waited .06 to 19 s for
it. Where no prose comes the quotation stays, and the answer says so and ends as every other does: a
client that has shown it could do nothing with an error.

Interface: https://asgi.readthedocs.io/en/latest/specs/www.html
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from twin_resources.access.refusals import Refused
from twin_resources.gateway.api.idempotency import UNFINISHED, Message, Send
from twin_resources.gateway.api.json_answers import broken_off, refuse
from twin_resources.gateway.exchange.fixed_answers import chunk, event_bytes, stream_end
from twin_resources.gateway.exchange.request_record import RequestRecord

LogOpening = Callable[[RequestRecord], None]

READER_LEFT = 499
"""LiteLLM's status of a call that it cancelled because the client was gone."""
LEFT = "the reader left before the prose"
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy on the way would wait for more
)
current: ContextVar[EarlyOpening] = ContextVar("early_opening")
"""Of the request that this task works on."""


@dataclass
class EarlyOpening:
    """One answer, which may be begun before LiteLLM begins it.

    Attributes:
        send: to the reader.
        answering: its record.
    """

    send: Send
    answering: RequestRecord
    _text: str = ""
    _failed: int = 0  # LiteLLM's status; 0: it has not failed
    _is_over: bool = False

    async def begin(self, text: str) -> None:
        """Write the head of the answer and its first event."""
        answering, self._text = self.answering, text
        answering.is_opened = True
        told = ((name.encode(), value.encode()) for name, value in answering.headers().items())
        headers = [*_HEADERS, *told]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        first = event_bytes(chunk(answering, {"role": "assistant", "content": text}))
        await self.send({"type": "http.response.body", "body": first, "more_body": True})

    async def pass_on(self, message: Message) -> None:
        """LiteLLM's answer, without its head where the reader has one, and without its errors."""
        answering = self.answering
        is_last = message["type"] != "http.response.start" and not message.get("more_body", False)
        if message["type"] == "http.response.start":
            self._failed = 0 if message["status"] == 200 else int(message["status"])
            if not (answering.is_opened or (self._failed and answering.failure)):
                await self.send(message)
        elif self._failed and answering.is_opened:
            if is_last and self._failed != READER_LEFT:
                await self.send(self._ending(answering))
        elif answering.failure is None:
            self._is_over = is_last
            await self.send(message)
        elif is_last and self._failed:
            await refuse(self.send, answering.failure)
        elif is_last:
            await self._end_broken(answering.failure)

    async def _end_broken(self, failure: Refused) -> None:
        """The last events of a stream that broke off: what failed, and the mark."""
        body = {"type": "http.response.body", "body": broken_off(failure), "more_body": False}
        await self.send(body | {UNFINISHED: True})

    def end(self, log: LogOpening) -> None:
        """The request is over, or its reader has left; what LiteLLM tells nobody is told here."""
        answering = self.answering
        if answering.cost.bought is not None and not answering.call_id:
            answering.cost.bought.unsent()  # the reader left before LiteLLM's hook
        if not answering.is_opened or answering.exchange.fixed_answer:
            return
        answering.end(0)  # unless its end has come
        if answering.is_prose_begun or (self._is_over and not self._failed):
            return  # LiteLLM has logged it, or is about to
        if answering.cost.bought is not None:
            answering.cost.bought.left()
        answering.shown = self._text
        if self._failed in {0, READER_LEFT}:
            answering.stands_without_prose(LEFT)
        log(answering)

    def _ending(self, answering: RequestRecord) -> Message:
        """The end of an answer whose prose does not come."""
        server, status = answering.chosen.server_key, self._failed
        what = "refused the prompt" if status < 500 else "does not answer"
        answering.stands_without_prose(f"no prose: the model server {server!r} {what}")
        body = stream_end(answering)
        return {"type": "http.response.body", "body": body, "more_body": False, UNFINISHED: True}
