"""Apply the limits of a key to a request.

Scope: counting a request before its answer, and freeing its place.
Out of scope: how requests are counted (`key_limits.py`), and the answer itself.

This middleware runs between the allow-list, which has read and checked the request, and LiteLLM. By
then, requests to all routes have been converted to chat requests.
"""
# pyright: strict

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twin_resources.access.keys import open_key_store
from twin_resources.gateway.api.key_limits import KeyRequestCounter
from twin_resources.gateway.api.preparation import CHECKED_REQUEST, CheckedRequest
from twin_resources.settings import Settings


@dataclass(frozen=True)
class KeyLimitsMiddleware:
    """An ASGI application that applies the limits of keys before it calls the proxy.

    Attributes:
        proxy: called with each accepted request.
        request_counter: counts the requests of keys with a limit.
    """

    proxy: ASGIApp
    request_counter: KeyRequestCounter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and count it; free its place before the last message is sent.

        A client that has the whole answer may therefore ask again at once, even with a limit of
        one request at a time. A request of a key without limits executes no SQL statement.

        Raises:
            RefusedError: see `KeyRequestCounter.begin`.
        """
        request: CheckedRequest | None = scope.get(CHECKED_REQUEST)
        key = None if request is None else request.key
        if key is None or (key.limits.per_minute is None and key.limits.at_once is None):
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
    return KeyLimitsMiddleware(proxy, KeyRequestCounter(open_store))
