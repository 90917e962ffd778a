"""Support `Idempotency-Key`: a repeated request gets the same answer and is charged once.

Scope: storing a request and its answer for a day, and the refusals.
Out of scope: the routes that accept the header (`routes.py`), and costs (`account.py`).

A request with the same API key, the same header and the same body gets the same answer, byte for
byte. A different body gets 422, and a repeated request gets 409 while the first request is in
progress. A failed request is deleted, so that it can be sent again. A client that sends the header
may request the answer again, so the work continues after a disconnect. If a gateway dies during a
request, the row of the request expires after `IN_PROGRESS_TIMEOUT_S`.
Method: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header
"""
# pyright: strict

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Message, Receive, Send

from twin_resources.access.keys import key_tables
from twin_resources.access.refusals import RefusedError, refuse_if_store_fails
from twin_resources.errors import TwinError
from twin_resources.storage.state.state import State

HEADER_NAME = b"idempotency-key"
REPLAYED_HEADER = (b"idempotent-replayed", b"true")
UNFINISHED_KEY = "twin.unfinished"
"""Key of an ASGI message; True if a part of the answer is missing, so that a retry is useful."""
RETENTION_S = 24 * 3600.0
IN_PROGRESS_TIMEOUT_S = 900.0
MAX_HEADER_CHARACTERS = 255
# Limit per answer. An answer with sources and 4,096 tokens takes a tenth of this limit.
_MAX_BYTES = 4 * 1024 * 1024

_ACTION = "answer the request only once"

Headers = Sequence[tuple[bytes, bytes]]

# The answer contains the author's text; erasure reads every column of the state store.
gateway_answers = sa.Table(
    "gateway_answers",
    key_tables,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("idempotency_hash", sa.String(64), primary_key=True),
    sa.Column("body_hash", sa.String(64), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("expires", sa.Double, nullable=False, index=True),
    sa.Column("status", sa.Integer),  # null while in progress
    sa.Column("headers", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class StoredAnswer:
    """An answer as it was sent."""

    status: int
    headers: Headers
    body: bytes

    async def send(self, send: Send) -> None:
        """Send the answer again, with a header that marks it as a stored answer."""
        headers = [*self.headers, REPLAYED_HEADER]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@dataclass(frozen=True)
class IdempotentRequest:
    """One request with an `Idempotency-Key`.

    Attributes:
        api_key_id: id of the reader's key.
        idempotency_hash: hash of the header.
    """

    api_key_id: str
    idempotency_hash: str


@dataclass(frozen=True)
class IdempotencyStore:
    """Store of the requests that have an `Idempotency-Key`, shared between processes.

    Attributes:
        open_state: returns the state store with `key_tables`; called for each request with the
            header.
        clock: returns seconds since 1970; by default the store's clock.
    """

    open_state: Callable[[], State]
    clock: Callable[[], float] | None = None

    def begin(
        self, api_key_id: str, idempotency_key: str, *, path: str, body: bytes, author: str
    ) -> IdempotentRequest | StoredAnswer:
        """Register a request, or return its stored answer.

        Writes to the state store, so do not call it on the event loop.

        Args:
            api_key_id: id of the reader's key.
            idempotency_key: value of the header.
            path: path of the route.
            body: JSON; the order of its keys does not matter.
            author: slug of the author.

        Raises:
            RefusedError: 400 if the header is not usable, 409 if the first request is in progress,
                422 if the body differs, 503 if the store cannot be written.
        """
        if (
            not 1 <= len(idempotency_key) <= MAX_HEADER_CHARACTERS
            or not idempotency_key.isprintable()
        ):
            raise _refusal(
                400,
                "bad_idempotency_key",
                f"a header of {len(idempotency_key)} characters",
                f"send 1 to {MAX_HEADER_CHARACTERS} printable characters, for example a UUID",
            )
        idempotency_hash = hashlib.sha256(idempotency_key.encode()).hexdigest()
        request = IdempotentRequest(api_key_id, idempotency_hash)
        sorted_body = json.dumps(json.loads(body), sort_keys=True).encode()
        body_hash = hashlib.sha256(path.encode() + b"\n" + sorted_body).hexdigest()
        with refuse_if_store_fails(
            "idempotency_unreadable",
            tried=_ACTION,
            next_step="try again, or omit the header Idempotency-Key",
        ):
            return self._register(request, body_hash, author)

    def finish(self, request: IdempotentRequest, answer: StoredAnswer | None) -> None:
        """Store the answer, or delete the request if `answer` is None.

        A failed write is logged and not raised, because the answer has been sent.
        """
        table = gateway_answers
        try:
            state = self.open_state()
            with state.transaction() as connection:
                if answer is None:
                    connection.execute(sa.delete(table).where(_matches(request)))
                    return
                headers = [
                    [name.decode("latin-1"), value.decode("latin-1")]
                    for name, value in answer.headers
                ]
                connection.execute(
                    sa.update(table)
                    .where(_matches(request))
                    .values(
                        status=answer.status,
                        headers=json.dumps(headers),
                        answer=answer.body.decode("utf-8"),
                        expires=self._now(state, connection) + RETENTION_S,
                    )
                )
        except (SQLAlchemyError, TwinError, UnicodeDecodeError) as error:
            sys.stderr.write(f"an answer was not stored for a retry: {type(error).__name__}\n")

    def _register(
        self, request: IdempotentRequest, body_hash: str, author: str
    ) -> IdempotentRequest | StoredAnswer:
        table = gateway_answers
        state = self.open_state()
        with state.transaction() as connection:
            now = self._now(state, connection)
            connection.execute(sa.delete(table).where(table.c.expires <= now))
            row = connection.execute(sa.select(table).where(_matches(request))).first()
            if row is None:
                connection.execute(
                    sa.insert(table).values(
                        key=request.api_key_id,
                        idempotency_hash=request.idempotency_hash,
                        body_hash=body_hash,
                        author=author,
                        expires=now + IN_PROGRESS_TIMEOUT_S,
                        headers="",
                        answer="",
                    )
                )
                return request
        if row.body_hash != body_hash:
            raise _refusal(
                422,
                "idempotency_key_reused",
                "a different request with this Idempotency-Key",
                "send the same body again, or use a new key for a different request",
            )
        if row.status is None:
            raise _refusal(
                409,
                "idempotency_in_flight",
                "the first request with this Idempotency-Key is still in progress",
                "try again in a few seconds to get its answer",
                retry_after_s=2,
            )
        headers = [
            (str(name).encode("latin-1"), str(value).encode("latin-1"))
            for name, value in json.loads(row.headers)
        ]
        return StoredAnswer(int(row.status), headers, str(row.answer).encode())

    def _now(self, state: State, connection: sa.Connection) -> float:
        return self.clock() if self.clock else state.now(connection)


@dataclass
class RecordedResponse:
    """A response that is forwarded and stored, even after the client has disconnected.

    Attributes:
        send: sends a message to the client.
        store: stores the whole answer; awaited before the last message is sent, so that a client
            that has the whole answer can rely on its being stored.
    """

    send: Send
    store: Callable[[StoredAnswer], Awaitable[None]]
    is_stored: bool = False
    _is_disconnected: bool = False
    _is_unfinished: bool = False
    _status: int = 0
    _headers: Headers = ()
    _parts: list[bytes] = field(default_factory=list[bytes])

    async def __call__(self, message: Message) -> None:
        """Record and forward one message of the answer."""
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            self._headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            self._parts.append(bytes(message.get("body", b"")))
            self._is_unfinished |= message.get(UNFINISHED_KEY, False)
            if not message.get("more_body", False):
                await self._store_if_complete()
        if self._is_disconnected:
            return
        try:
            await self.send(message)
        except OSError:
            self._is_disconnected = True  # the client will request the answer again

    async def _store_if_complete(self) -> None:
        """Store the answer if it is complete, not an error, and not too large."""
        body = b"".join(self._parts)
        is_answer = 200 <= self._status < 300 and not self._is_unfinished
        if is_answer and len(body) <= _MAX_BYTES:
            await self.store(StoredAnswer(self._status, self._headers, body))
            self.is_stored = True


def ignore_disconnect(receive: Receive) -> Receive:
    """Wrap `receive` so that it never reports a disconnect and the work continues."""

    async def receive_or_block() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            await asyncio.Event().wait()  # blocks until the finished request cancels this task
        return message

    return receive_or_block


def _matches(request: IdempotentRequest) -> sa.ColumnElement[bool]:
    table = gateway_answers
    return sa.and_(
        table.c.key == request.api_key_id, table.c.idempotency_hash == request.idempotency_hash
    )


def _refusal(
    status: int, code: str, found: str, next_step: str, *, retry_after_s: int | None = None
) -> RefusedError:
    return RefusedError(
        status,
        code,
        tried=_ACTION,
        found=found,
        next_step=next_step,
        retry_after_s=retry_after_s,
    )
