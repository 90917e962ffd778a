"""A request under the terms of its key: counted, and answered once.

Scope: the order in which a key's limits and `Idempotency-Key` come around an answer.
Out of scope: counting (`key_limits.py`), remembering (`idempotency.py`), the answer.

A stored answer comes before the count: who asks for it again sends nothing to a model. It stands
between the allow-list, which has read and checked the request, and LiteLLM, so whatever route a
question came by is the same question here.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from twin_resources.access.keys import Key, Keyring, open_keys
from twin_resources.access.refusals import Refused
from twin_resources.gateway.api.idempotency import (
    HEADER,
    Idempotency,
    IdempotentRequest,
    Message,
    Receive,
    RecordedResponse,
    Send,
    StoredAnswer,
    staying,
)
from twin_resources.gateway.api.json_answers import refuse
from twin_resources.gateway.api.key_limits import CountedRequest, KeyRequests
from twin_resources.settings import Settings

Answer = Callable[[Receive, Send], Awaitable[None]]
Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class KeyTerms:
    """Holds requests to what their keys may do."""

    requests: KeyRequests
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
        """Answer a request, or send the answer that it had.

        Args:
            answer: answers it; called at most once.
            idempotency_key: the header.
            path, body: what makes it the same request.

        Raises:
            Refused: see `KeyRequests.begin` and `Idempotency.begin`.
        """
        outcome = await asyncio.to_thread(
            self.idempotency.begin, key.id, idempotency_key, path=path, body=body, author=author
        )
        if isinstance(outcome, StoredAnswer):
            await outcome.send(send)
            return
        await self._once(key, answer, outcome, receive, send)

    async def _once(
        self, key: Key, answer: Answer, once: IdempotentRequest, receive: Receive, send: Send
    ) -> None:
        async def keep(stored: StoredAnswer) -> None:
            await asyncio.to_thread(self.idempotency.finish, once, stored)

        recording = RecordedResponse(send, keep)
        try:
            await self.run_counted(key, answer, staying(receive), recording)
        finally:
            if not recording.is_kept:
                await asyncio.to_thread(self.idempotency.finish, once, None)

    async def run_counted(self, key: Key, answer: Answer, receive: Receive, send: Send) -> None:
        """Answer a request and count it; its place is free before the last piece goes out.

        Whoever has the whole answer may ask again at once, with a limit of one as well.

        Raises:
            Refused: see `KeyRequests.begin`.
        """
        limits = key.limits
        if limits.per_minute is None and limits.at_once is None:
            await answer(receive, send)
            return
        counted = await asyncio.to_thread(self.requests.begin, key)
        is_over = counted == CountedRequest()

        async def end() -> None:
            nonlocal is_over
            if not is_over:
                is_over = True
                await asyncio.to_thread(self.requests.end, counted)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await end()
            await send(message)

        try:
            await answer(receive, send_on)
        finally:
            await end()


@dataclass(frozen=True)
class UnderKeyTerms:
    """The proxy behind the terms of keys, an ASGI application.

    Attributes:
        proxy: gets each request that passes, without the header.
    """

    proxy: Application
    keyring: Keyring
    terms: KeyTerms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.proxy(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        once = headers.pop(HEADER, b"").decode("latin-1")
        passed = {**scope, "headers": list(headers.items())}

        async def answer(receive: Receive, send: Send) -> None:
            await self.proxy(passed, receive, send)

        try:
            # the allow-list has looked it up a moment ago, and it is believed for a second
            key = self.keyring.find(headers.get(b"authorization", b"").decode("latin-1"))
            if not once:
                await self.terms.run_counted(key, answer, receive, send)
                return
            first = await receive()  # the allow-list passes the whole body on in one message
            body = bytes(first.get("body", b""))
            await self.terms.run_once(
                key,
                answer,
                idempotency_key=once,
                path=scope["path"],
                body=body,
                author=_author_of(body),
                receive=heard_again(first, receive),
                send=send,
            )
        except Refused as error:
            await refuse(send, error)


def under_key_terms(proxy: Application, settings: Settings, keyring: Keyring) -> UnderKeyTerms:
    """The proxy behind the terms of a home's keys; its store is opened when one is needed."""
    terms = KeyTerms(
        KeyRequests(lambda: open_keys(settings)), Idempotency(lambda: open_keys(settings))
    )
    return UnderKeyTerms(proxy, keyring, terms)


def _author_of(body: bytes) -> str:
    """Whom a checked body asks: forgetting an author finds the answer by it."""
    return str(json.loads(body)["model"]).removeprefix("twin/").partition("@")[0]


def heard_again(message: Message, receive: Receive) -> Receive:
    """The same, and before it a message that was taken from it."""
    waiting = [message]

    async def hear() -> Message:
        return waiting.pop() if waiting else await receive()

    return hear
