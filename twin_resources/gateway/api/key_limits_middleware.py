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
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twin_resources.access.keys import Key, Keyring, open_key_store
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.idempotency import (
    HEADER_NAME,
    IdempotencyStore,
    RecordedResponse,
    StoredAnswer,
    ignore_disconnect,
)
from twin_resources.gateway.api.json_answers import send_refusal
from twin_resources.gateway.api.key_limits import KeyRequestCounter
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class KeyLimitsMiddleware:
    """An ASGI application that applies the limits of keys before it calls the proxy.

    Attributes:
        proxy: called with each accepted request, without the header `Idempotency-Key`.
        keyring: finds the key of a request.
        request_counter: counts the requests of keys with a limit.
        idempotency: stores the answers to requests with an `Idempotency-Key`.
    """

    proxy: ASGIApp
    keyring: Keyring
    request_counter: KeyRequestCounter
    idempotency: IdempotencyStore

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.proxy(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        idempotency_key = headers.pop(HEADER_NAME, b"").decode("latin-1")
        proxy_scope = {**scope, "headers": list(headers.items())}
        try:
            # The allow-list has just looked the key up; the keyring caches it for a second.
            key = self.keyring.find(headers.get(b"authorization", b"").decode("latin-1"))
            if idempotency_key:
                await self._answer_once(idempotency_key, key, proxy_scope, receive, send)
            else:
                await self._answer_and_count(key, proxy_scope, receive, send)
        except RefusedError as error:
            await send_refusal(send, error)

    async def _answer_once(
        self, idempotency_key: str, key: Key, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer a request, or send its stored answer without counting the request.

        Raises:
            RefusedError: see `KeyRequestCounter.begin` and `IdempotencyStore.begin`.
        """
        first_message = await receive()  # the allow-list passes the whole body in one message
        body = bytes(first_message.get("body", b""))
        # Erasure finds the stored answer by its author.
        author = str(json.loads(body)["model"]).removeprefix("twin/").partition("@")[0]
        outcome = await asyncio.to_thread(
            self.idempotency.begin,
            key.id,
            idempotency_key,
            path=scope["path"],
            body=body,
            author=author,
        )
        if isinstance(outcome, StoredAnswer):
            await outcome.send(send)
            return

        async def store(answer: StoredAnswer) -> None:
            await asyncio.to_thread(self.idempotency.finish, outcome, answer)

        response = RecordedResponse(send, store)
        receive = ignore_disconnect(replay_message(first_message, receive))
        try:
            await self._answer_and_count(key, scope, receive, response)
        finally:
            if not response.is_stored:
                await asyncio.to_thread(self.idempotency.finish, outcome, None)

    async def _answer_and_count(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request and count it; free its place before the last message is sent.

        A client that has the whole answer may therefore ask again at once, even with a limit of
        one request at a time. A request of a key without limits executes no SQL statement.

        Raises:
            RefusedError: see `KeyRequestCounter.begin`.
        """
        if key.limits.per_minute is None and key.limits.at_once is None:
            await self.proxy(scope, receive, send)
            return
        number = await asyncio.to_thread(self.request_counter.begin, key)

        async def end() -> None:
            nonlocal number
            if number is not None:
                ended_number, number = number, None
                await asyncio.to_thread(self.request_counter.end, ended_number)

        async def end_and_send(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await end()
            await send(message)

        try:
            await self.proxy(scope, receive, end_and_send)
        finally:
            await end()


def add_key_limits(proxy: ASGIApp, settings: Settings, keyring: Keyring) -> KeyLimitsMiddleware:
    """Wrap the proxy with the limits of a home's keys; the store is opened at its first use."""

    def open_store() -> State:
        return open_key_store(settings)

    return KeyLimitsMiddleware(
        proxy, keyring, KeyRequestCounter(open_store), IdempotencyStore(open_store)
    )


def replay_message(message: Message, receive: Receive) -> Receive:
    """Wrap `receive` so that it first returns a message that was already received."""
    messages = [message]

    async def receive_next() -> Message:
        return messages.pop() if messages else await receive()

    return receive_next
