"""A request under the terms of its key: counted, and answered once.

Belongs here: the order in which a key's limits and `Idempotency-Key` come around an answer.
Does not belong here: counting (`key_limits.py`), remembering (`idempotency.py`), the answer.

A stored answer comes before the count: who asks for it again sends nothing to a model.
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twin_resources.gateway.idempotency import (
    Idempotency,
    OnceOnly,
    Receive,
    Recording,
    Send,
    StoredAnswer,
    staying,
)
from twin_resources.gateway.key_limits import CountedRequest, KeyRequests
from twin_resources.gateway.keys import Key

Answer = Callable[[Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class KeyTerms:
    """Holds requests to what their keys may do."""

    requests: KeyRequests
    idempotency: Idempotency

    async def run(
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
            idempotency_key: the header; empty: none was sent.
            path, body: what makes it the same request.

        Raises:
            Refused: see `KeyRequests.begin` and `Idempotency.begin`.
        """
        if not idempotency_key:
            await self._counted(key, answer, receive, send)
            return
        found = await asyncio.to_thread(
            self.idempotency.begin, key.id, idempotency_key, path=path, body=body, author=author
        )
        if isinstance(found, StoredAnswer):
            await found.send(send)
            return
        await self._once(key, answer, found, receive, send)

    async def _once(
        self, key: Key, answer: Answer, once: OnceOnly, receive: Receive, send: Send
    ) -> None:
        async def keep(stored: StoredAnswer) -> None:
            await asyncio.to_thread(self.idempotency.finish, once, stored)

        recording = Recording(send, keep)
        try:
            await self._counted(key, answer, staying(receive), recording)
        finally:
            if not recording.is_kept:
                await asyncio.to_thread(self.idempotency.finish, once, None)

    async def _counted(self, key: Key, answer: Answer, receive: Receive, send: Send) -> None:
        limits = key.limits
        if limits.per_minute is None and limits.at_once is None:
            await answer(receive, send)
            return
        counted = await asyncio.to_thread(self.requests.begin, key)
        try:
            await answer(receive, send)
        finally:
            if counted != CountedRequest():
                await asyncio.to_thread(self.requests.end, counted)
