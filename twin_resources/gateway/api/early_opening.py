"""Send the opening of a streamed answer before a model is called.

Scope: sending the opening before LiteLLM's answer, and handling LiteLLM's own response start and
errors after it.
Out of scope: the text of the opening (`request_record.py`), deciding when to send it
(`preparation.py`), its span (`trace_logger.py`).

LiteLLM sends nothing before the model server has answered, which delayed the quotation by .06 to
19 s. If the model returns no prose, the quotation stays. The answer then says so and ends normally,
because a client that has shown the quotation cannot use an error.

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
"""LiteLLM's status of a call that it cancelled because the client had disconnected."""
LEFT = "the reader left before the prose"
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # otherwise a reverse proxy would buffer the stream
)
current: ContextVar[EarlyOpening] = ContextVar("early_opening")
"""The opening of the request that the current task handles."""


@dataclass
class EarlyOpening:
    """One answer, whose first event may be sent before LiteLLM starts its response.

    Attributes:
        send: sends a message to the client.
        answering: the record of the request.
    """

    send: Send
    answering: RequestRecord
    _text: str = ""
    _failed: int = 0  # LiteLLM's error status, or 0
    _is_over: bool = False

    async def begin(self, text: str) -> None:
        """Send the headers of the answer and its first event."""
        answering, self._text = self.answering, text
        answering.is_opened = True
        own = ((name.encode(), value.encode()) for name, value in answering.headers().items())
        headers = [*_HEADERS, *own]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        first = event_bytes(chunk(answering, {"role": "assistant", "content": text}))
        await self.send({"type": "http.response.body", "body": first, "more_body": True})

    async def pass_on(self, message: Message) -> None:
        """Forward a message of LiteLLM's answer.

        Its response start is dropped if the opening was sent, and its errors are replaced.
        """
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
        """Send the last events of a stream that broke off: the failure and the end mark."""
        body = {"type": "http.response.body", "body": broken_off(failure), "more_body": False}
        await self.send(body | {UNFINISHED: True})

    def end(self, log: LogOpening) -> None:
        """Close the record after the request or a disconnect, and log it if LiteLLM does not."""
        answering = self.answering
        if answering.cost.bought is not None and not answering.call_id:
            answering.cost.bought.unsent()  # the client disconnected before LiteLLM's hook
        if not answering.is_opened or answering.exchange.fixed_answer:
            return
        answering.end(0)  # has no effect if it has ended
        if answering.is_prose_begun or (self._is_over and not self._failed):
            return  # LiteLLM has logged it or will log it
        if answering.cost.bought is not None:
            answering.cost.bought.left()
        answering.shown = self._text
        if self._failed in {0, READER_LEFT}:
            answering.stands_without_prose(LEFT)
        log(answering)

    def _ending(self, answering: RequestRecord) -> Message:
        """Return the end of an answer for which the model returned no prose."""
        server, status = answering.chosen.server_key, self._failed
        failure = "refused the prompt" if status < 500 else "does not answer"
        answering.stands_without_prose(f"no prose: the model server {server!r} {failure}")
        body = stream_end(answering)
        return {"type": "http.response.body", "body": body, "more_body": False, UNFINISHED: True}
