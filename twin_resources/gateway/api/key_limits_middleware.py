"""Apply the limits of a key and the header `Idempotency-Key` to a request.

Scope: the order in which limits and `Idempotency-Key` are applied around an answer.
Out of scope: counting (`key_limits.py`), storing answers (`idempotency.py`), and the answer itself.

A stored answer is sent without counting the request, because no model is called for it. This
middleware runs between the allow-list, which has read and checked the request, and LiteLLM. By
then, requests to all routes have been converted to chat requests.
"""
# pyright: strict

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twin_resources.access.keys import Key, open_key_store
from twin_resources.gateway.api.idempotency import (
    HEADER_NAME,
    IdempotencyStore,
    RecordedResponse,
    StoredAnswer,
    ignore_disconnect,
)
from twin_resources.gateway.api.key_limits import KeyRequestCounter
from twin_resources.gateway.api.preparation import CHECKED_REQUEST, CheckedRequest
from twin_resources.settings import Settings


@dataclass(frozen=True)
class KeyLimitsMiddleware:
    """An ASGI application that applies the limits of keys before it calls the proxy.

    Attributes:
        proxy: called with each accepted request, without the header `Idempotency-Key`.
        request_counter: counts the requests of keys with a limit.
        idempotency: stores the answers to requests with an `Idempotency-Key`.
    """

    proxy: ASGIApp
    request_counter: KeyRequestCounter
    idempotency: IdempotencyStore

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            RefusedError: see `KeyRequestCounter.begin` and `IdempotencyStore.begin`.
        """
        request: CheckedRequest | None = scope.get(CHECKED_REQUEST)
        if request is None:
            await self.proxy(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        idempotency_key = headers.pop(HEADER_NAME, b"").decode("latin-1")
        proxy_scope = {**scope, "headers": list(headers.items())}
        if idempotency_key:
            await self._answer_once(idempotency_key, request, proxy_scope, receive, send)
        else:
            await self._answer_and_count(request.key, proxy_scope, receive, send)

    async def _answer_once(
        self,
        idempotency_key: str,
        request: CheckedRequest,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer a request, or send its stored answer without counting the request."""
        outcome = await asyncio.to_thread(
            self.idempotency.begin,
            request.key.id,
            idempotency_key,
            path=scope["path"],
            body=request.body,
            author=request.question.author,  # erasure finds the stored answer by its author
        )
        if isinstance(outcome, StoredAnswer):
            await outcome.send(send)
            return

        async def store(answer: StoredAnswer) -> None:
            await asyncio.to_thread(self.idempotency.finish, outcome, answer)

        response = RecordedResponse(send, store)
        try:
            await self._answer_and_count(request.key, scope, ignore_disconnect(receive), response)
        finally:
            if not response.is_stored:
                await asyncio.to_thread(self.idempotency.finish, outcome, None)

    async def _answer_and_count(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and count it; free its place before the last message is sent.

        A client that has the whole answer may therefore ask again at once, even with a limit of
        one request at a time. A request of a key without limits executes no SQL statement.
        """
        if key.limits.per_minute is None and key.limits.at_once is None:
            await self.proxy(scope, receive, send)
            return
        row_number = await asyncio.to_thread(self.request_counter.begin, key)

        async def end() -> None:
            nonlocal row_number
            if row_number is not None:
                ended_number, row_number = row_number, None
                await asyncio.to_thread(self.request_counter.end, ended_number)

        async def end_and_send(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await end()
            await send(message)

        try:
            await self.proxy(scope, receive, end_and_send)
        finally:
            await end()


def add_key_limits(proxy: ASGIApp, settings: Settings) -> KeyLimitsMiddleware:
    """Wrap the proxy with the limits of a home's keys; the store is opened at its first use."""
    open_store = cache(lambda: open_key_store(settings))
    return KeyLimitsMiddleware(proxy, KeyRequestCounter(open_store), IdempotencyStore(open_store))
