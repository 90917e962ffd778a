"""Send the opening of a streamed answer before a model is called.

Scope: sending the opening before LiteLLM's answer, and handling LiteLLM's own response start and
errors after it.
Out of scope: the text of the opening (`request_record.py`), deciding when to send it
(`preparation.py`), and its span (`trace_logger.py`).

LiteLLM sends nothing before the model server has answered, which delayed the quotation by 0.06 to
19 s. If the model returns no prose, the quotation remains. The answer then states that the prose is
missing and ends normally, because a client that has shown the quotation cannot use an error.

Interface: https://asgi.readthedocs.io/en/latest/specs/www.html
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.types import Message, Send

from twin_resources.gateway.api.json_answers import failure_events, send_refusal
from twin_resources.gateway.exchange.fixed_answers import chunk_document, encode_event, final_events
from twin_resources.gateway.exchange.request_record import RequestRecord

OpeningLogger = Callable[[RequestRecord], None]

CLIENT_DISCONNECTED_STATUS = 499
"""LiteLLM's status for a call that it cancelled because the client had disconnected."""
DISCONNECT_NOTE = "the reader disconnected before the prose"
_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # otherwise a reverse proxy would buffer the stream
)
current_opening: ContextVar[EarlyOpening] = ContextVar("early_opening")
"""The opening of the request that the current task handles."""


@dataclass
class EarlyOpening:
    """One answer, whose first event may be sent before LiteLLM starts its response.

    Attributes:
        send: sends a message to the client.
        record: the record of the request.
    """

    send: Send
    record: RequestRecord
    _text: str = ""
    _error_status: int = 0  # LiteLLM's error status, or 0
    _is_finished: bool = False

    async def begin(self, text: str) -> None:
        """Send the headers of the answer and its first event."""
        record, self._text = self.record, text
        record.is_opened = True
        record_headers = (
            (name.encode(), value.encode()) for name, value in record.headers().items()
        )
        headers = [*_HEADERS, *record_headers]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        first_event = encode_event(chunk_document(record, {"role": "assistant", "content": text}))
        await self.send({"type": "http.response.body", "body": first_event, "more_body": True})

    async def forward(self, message: Message) -> None:
        """Forward a message of LiteLLM's answer.

        Its response start is dropped if the opening was sent, and its errors are replaced.
        """
        record = self.record
        is_last = message["type"] != "http.response.start" and not message.get("more_body", False)
        if message["type"] == "http.response.start":
            self._error_status = 0 if message["status"] == 200 else int(message["status"])
            if not (record.is_opened or (self._error_status and record.failure)):
                await self.send(message)
        elif self._error_status and record.is_opened:
            if is_last and self._error_status != CLIENT_DISCONNECTED_STATUS:
                server, status = record.decision.server_key, self._error_status
                problem = "refused the prompt" if status < 500 else "does not answer"
                record.record_missing_prose(f"no prose: the model server {server!r} {problem}")
                await self._send_last(final_events(record))
        elif record.failure is None:
            self._is_finished = is_last
            await self.send(message)
        elif is_last and self._error_status:
            await send_refusal(self.send, record.failure)
        elif is_last:
            await self._send_last(failure_events(record.failure))

    async def _send_last(self, events: bytes) -> None:
        await self.send({"type": "http.response.body", "body": events, "more_body": False})

    def end(self, log: OpeningLogger) -> None:
        """Close the record after the request or a disconnect, and log it if LiteLLM does not."""
        record = self.record
        if record.cost.paid_call is not None and not record.call_id:
            record.cost.paid_call.settle_unsent()  # the client disconnected before LiteLLM's hook
        if not record.is_opened or record.exchange.fixed_answer:
            return
        record.end(0)  # has no effect on an ended record
        if record.has_prose or (self._is_finished and not self._error_status):
            return  # LiteLLM has logged it or will log it
        if record.cost.paid_call is not None:
            record.cost.paid_call.settle_interrupted()
        record.shown_text = self._text
        if self._error_status in {0, CLIENT_DISCONNECTED_STATUS}:
            record.record_missing_prose(DISCONNECT_NOTE)
        log(record)
