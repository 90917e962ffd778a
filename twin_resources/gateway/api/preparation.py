"""Prepare a request before LiteLLM is called, and answer it here if it needs no model.

Scope: the ASGI application around LiteLLM's, and the request that the allow-list passes to it. The
application lets the plugin prepare the question, and sends the answers that no model writes and the
opening of a stream.
Out of scope: the preparation itself (`request_path.py`), the format of those answers
(`fixed_answers.py`), and a stream after its opening (`early_opening.py`).

LiteLLM takes 8 ms of CPU time even for an answer that needs no model. That was a quarter of the
cost of quotations, the most frequent answers.

Interface: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.early_opening import EarlyOpening, current_opening
from twin_resources.gateway.api.json_answers import send_json
from twin_resources.gateway.exchange.fixed_answers import completion_document, final_events
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.request.request_body import ChatRequest

AnswerLogger = Callable[[RequestRecord], None]
CHECKED_REQUEST = "twin.request"
"""Key of an ASGI scope; its value is the `CheckedRequest` of a request that needs an answer."""


@dataclass(frozen=True)
class CheckedRequest:
    """A chat request that the allow-list has checked.

    Attributes:
        key: the key of the client.
        question: the question that the body contains.
        body: the checked JSON, as LiteLLM receives it.
    """

    key: Key
    question: ChatRequest
    body: bytes


@dataclass(frozen=True)
class PreparationMiddleware:
    """An ASGI application that passes a prepared request to LiteLLM's, or answers it itself.

    Attributes:
        proxy: LiteLLM's application.
        prepare: the plugin's method `prepare`.
        log_fixed_answer: writes the span and the scores of an answer that no model wrote.
        log_opening: writes the span of an answer if only its opening was sent.
    """

    proxy: ASGIApp
    prepare: Callable[[ChatRequest, Key], Awaitable[RequestRecord]]
    log_fixed_answer: AnswerLogger
    log_opening: AnswerLogger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            RefusedError: see `TwinPlugin.prepare`.
        """
        request: CheckedRequest | None = scope.get(CHECKED_REQUEST)
        if request is None:
            await self.proxy(scope, receive, send)
            return
        started_at = time.monotonic()
        record = await self._prepare_request(request)
        opening = EarlyOpening(send, record)
        try:
            if record.exchange.fixed_answer:
                await self._send_fixed_answer(opening, started_at)
                return
            if record.chat_request.stream and record.prefix:
                await opening.begin(record.prefix)
            token = current_opening.set(opening)
            try:
                await self.proxy(scope, receive, opening.forward)
            finally:
                current_opening.reset(token)
        finally:
            opening.end(self.log_opening)

    async def _prepare_request(self, request: CheckedRequest) -> RequestRecord:
        try:
            return await self.prepare(request.question, request.key)
        except RefusedError:
            raise
        except Exception as error:
            sys.stderr.write(traceback.format_exc())
            raise RefusedError(
                500,
                "gateway_failed",
                tried="prepare the prompt",
                found=f"an error in the gateway ({type(error).__name__})",
                next_step="read the gateway's log, and report the error that it contains",
            ) from error

    async def _send_fixed_answer(self, opening: EarlyOpening, started_at: float) -> None:
        """Send a whole answer that no model wrote."""
        record = opening.record
        text = record.prefix + record.exchange.fixed_answer
        record.cost.begin(started_at=started_at)
        try:
            if record.chat_request.stream:
                await opening.begin(text)
                record.end(0)
                body = final_events(record)
                await opening.send({"type": "http.response.body", "body": body, "more_body": False})
            else:
                record.end(0)
                document = completion_document(record, text)
                await send_json(opening.send, 200, document, headers=record.headers())
        finally:
            record.shown_text = text
            self.log_fixed_answer(record)
