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
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from twin_resources.access.keys import Key, Keyring, open_key_store
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.idempotency import (
    HEADER_NAME,
    Idempotency,
    IdempotentRequest,
    Message,
    Receive,
    RecordedResponse,
    Send,
    StoredAnswer,
    ignore_disconnect,
)
from twin_resources.gateway.api.json_answers import send_refusal
from twin_resources.gateway.api.key_limits import CountedRequest, KeyRequestCounter
from twin_resources.settings import Settings

Answer = Callable[[Receive, Send], Awaitable[None]]
Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class KeyLimitEnforcer:
    """The limits of keys, applied to requests."""

    request_counter: KeyRequestCounter
    idempotency: Idempotency

    async def run_once(
        self,
        key: Key,
        answer: Answer,
        *,
        idempotency_key: str,
        path: str,
        body: bytes,
        author: str,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer a request, or send its stored answer.

        Args:
            answer: answers the request; called at most once.
            idempotency_key: the header `Idempotency-Key`.
            path, body: identify the request together with the header.

        Raises:
            RefusedError: see `KeyRequestCounter.begin` and `Idempotency.begin`.
        """
        outcome = await asyncio.to_thread(
            self.idempotency.begin, key.id, idempotency_key, path=path, body=body, author=author
        )
        if isinstance(outcome, StoredAnswer):
            await outcome.send(send)
            return
        await self._answer_once(key, answer, outcome, receive, send)

    async def _answer_once(
        self, key: Key, answer: Answer, request: IdempotentRequest, receive: Receive, send: Send
    ) -> None:
        async def keep(stored: StoredAnswer) -> None:
            await asyncio.to_thread(self.idempotency.finish, request, stored)

        response = RecordedResponse(send, keep)
        try:
            await self.run_counted(key, answer, ignore_disconnect(receive), response)
        finally:
            if not response.is_stored:
                await asyncio.to_thread(self.idempotency.finish, request, None)

    async def run_counted(self, key: Key, answer: Answer, receive: Receive, send: Send) -> None:
        """Answer a request and count it; free its place before the last message is sent.

        A client that has the whole answer may therefore ask again at once, even with a limit of
        one request at a time.

        Raises:
            RefusedError: see `KeyRequestCounter.begin`.
        """
        limits = key.limits
        if limits.per_minute is None and limits.at_once is None:
            await answer(receive, send)
            return
        counted_request = await asyncio.to_thread(self.request_counter.begin, key)
        has_ended = counted_request == CountedRequest()

        async def end() -> None:
            nonlocal has_ended
            if not has_ended:
                has_ended = True
                await asyncio.to_thread(self.request_counter.end, counted_request)

        async def end_and_send(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await end()
            await send(message)

        try:
            await answer(receive, end_and_send)
        finally:
            await end()


@dataclass(frozen=True)
class KeyLimitsMiddleware:
    """An ASGI application that applies the limits of keys before it calls the proxy.

    Attributes:
        proxy: called with each accepted request, without the header `Idempotency-Key`.
        keyring: finds the key of a request.
        limit_enforcer: applies the limits.
    """

    proxy: Application
    keyring: Keyring
    limit_enforcer: KeyLimitEnforcer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.proxy(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        idempotency_key = headers.pop(HEADER_NAME, b"").decode("latin-1")
        proxy_scope = {**scope, "headers": list(headers.items())}

        async def answer(receive: Receive, send: Send) -> None:
            await self.proxy(proxy_scope, receive, send)

        try:
            # The allow-list has just looked the key up; the keyring caches it for a second.
            key = self.keyring.find(headers.get(b"authorization", b"").decode("latin-1"))
            if not idempotency_key:
                await self.limit_enforcer.run_counted(key, answer, receive, send)
                return
            first_message = await receive()  # the allow-list passes the whole body in one message
            body = bytes(first_message.get("body", b""))
            await self.limit_enforcer.run_once(
                key,
                answer,
                idempotency_key=idempotency_key,
                path=scope["path"],
                body=body,
                author=_author_from_body(body),
                receive=replay_message(first_message, receive),
                send=send,
            )
        except RefusedError as error:
            await send_refusal(send, error)


def key_limits_middleware(
    proxy: Application, settings: Settings, keyring: Keyring
) -> KeyLimitsMiddleware:
    """Wrap the proxy with the limits of a home's keys; the store is opened at its first use."""
    limit_enforcer = KeyLimitEnforcer(
        KeyRequestCounter(lambda: open_key_store(settings)),
        Idempotency(lambda: open_key_store(settings)),
    )
    return KeyLimitsMiddleware(proxy, keyring, limit_enforcer)


def _author_from_body(body: bytes) -> str:
    """Return the author that a checked body names, by which erasure finds the stored answer."""
    return str(json.loads(body)["model"]).removeprefix("twin/").partition("@")[0]


def replay_message(message: Message, receive: Receive) -> Receive:
    """Wrap `receive` so that it first returns a message that was already received."""
    messages = [message]

    async def receive_next() -> Message:
        return messages.pop() if messages else await receive()

    return receive_next
