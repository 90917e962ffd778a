"""The header `Idempotency-Key`: a request that is sent again is answered again, and paid for once.

Scope: remembering a request and its answer for a day, and the refusals.
Out of scope: which routes take it (`routes.py`), money (`account.py`).

The same key of a reader's key with the same body gets the same answer, byte for byte; with another
body 422; while the first is under way 409. What failed is forgotten, so that it can be sent again.
Whoever names such a key means to come back for the answer: the work goes on when the reader leaves.
A gateway that dies in the middle leaves a mark that is believed for `STUCK_S`.
Method: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header
"""
# pyright: strict

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twin_resources.access.refusals import Refused
from twin_resources.errors import TwinError
from twin_resources.storage.state.state import State

HEADER = b"idempotency-key"
REPLAYED = (b"idempotent-replayed", b"true")
UNFINISHED = "twin.unfinished"
"""In a message of the answer: a part of it is missing, so that it is worth asking again."""
KEPT_S = 24 * 3600.0
STUCK_S = 900.0
MAX_CHARACTERS = 255
_MAX_BYTES = 4 * 1024 * 1024  # of an answer: sources and 4,096 tokens are a tenth of it

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Headers = Sequence[tuple[bytes, bytes]]

_metadata = sa.MetaData()
# The answer is a text of the author's: forgetting reads every column of the state store.
gateway_answers = sa.Table(
    "gateway_answers",
    _metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("idempotency_hash", sa.String(64), primary_key=True),
    sa.Column("body_hash", sa.String(64), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("expires", sa.Double, nullable=False, index=True),
    sa.Column("status", sa.Integer),  # null: under way
    sa.Column("headers", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class StoredAnswer:
    """An answer as it went out."""

    status: int
    headers: Headers
    body: bytes

    async def send(self, send: Send) -> None:
        """Send it again, with a header that says so."""
        headers = [*self.headers, REPLAYED]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@dataclass(frozen=True)
class IdempotentRequest:
    """One request that is to be answered once.

    Attributes:
        key: id of the reader's key. name: hash of the header.
    """

    key: str
    name: str


class Idempotency:
    """Remembers requests that name a key of their own; shared between processes.

    Args:
        state: opens the state store; called at the first such request.
        clock: seconds since 1970; by default the store's own.
    """

    def __init__(
        self, state: Callable[[], State], *, clock: Callable[[], float] | None = None
    ) -> None:
        self._open = state
        self._state: State | None = None
        self._clock = clock

    def begin(
        self, key: str, header: str, *, path: str, body: bytes, author: str
    ) -> IdempotentRequest | StoredAnswer:
        """Take a request, or find the answer that it had. Writes: not for the event loop.

        Args:
            key: id of the reader's key. header: as it was sent.
            body: JSON; the order of its keys does not matter.

        Raises:
            Refused: 400 no usable header, 409 the first one is under way, 422 another body, 503 the
                store cannot be written.
        """
        if not 1 <= len(header) <= MAX_CHARACTERS or not header.isprintable():
            raise _refused(
                400,
                "bad_idempotency_key",
                f"a header of {len(header)} characters",
                f"send 1 to {MAX_CHARACTERS} printable characters, as a UUID",
            )
        once = IdempotentRequest(key, hashlib.sha256(header.encode()).hexdigest())
        sorted_body = json.dumps(json.loads(body), sort_keys=True).encode()
        body_hash = hashlib.sha256(path.encode() + b"\n" + sorted_body).hexdigest()
        try:
            return self._begin(once, body_hash, author)
        except (SQLAlchemyError, TwinError) as error:
            if isinstance(error, Refused):
                raise
            raise _refused(
                503,
                "idempotency_unreadable",
                f"the state store does not answer ({type(error).__name__})",
                "try again, or send no Idempotency-Key",
            ) from error

    def finish(self, once: IdempotentRequest, answer: StoredAnswer | None) -> None:
        """Keep the answer, or forget the request (None). Never raises: the answer has gone out."""
        table = gateway_answers
        try:
            with self._store().transaction() as connection:
                mine = sa.and_(table.c.key == once.key, table.c.idempotency_hash == once.name)
                if answer is None:
                    connection.execute(sa.delete(table).where(mine))
                    return
                headers = [
                    [name.decode("latin-1"), value.decode("latin-1")]
                    for name, value in answer.headers
                ]
                connection.execute(
                    sa.update(table)
                    .where(mine)
                    .values(
                        status=answer.status,
                        headers=json.dumps(headers),
                        answer=answer.body.decode("utf-8"),
                        expires=self._now(connection) + KEPT_S,
                    )
                )
        except (SQLAlchemyError, TwinError, UnicodeDecodeError) as error:
            sys.stderr.write(f"an answer was not kept for its retry: {type(error).__name__}\n")

    def _begin(
        self, once: IdempotentRequest, body_hash: str, author: str
    ) -> IdempotentRequest | StoredAnswer:
        table = gateway_answers
        with self._store().transaction() as connection:
            now = self._now(connection)
            connection.execute(sa.delete(table).where(table.c.expires <= now))
            row = connection.execute(
                sa.select(table).where(
                    table.c.key == once.key, table.c.idempotency_hash == once.name
                )
            ).first()
            if row is None:
                connection.execute(
                    sa.insert(table).values(
                        key=once.key,
                        idempotency_hash=once.name,
                        body_hash=body_hash,
                        author=author,
                        expires=now + STUCK_S,
                        headers="",
                        answer="",
                    )
                )
                return once
        if row.body_hash != body_hash:
            raise _refused(
                422,
                "idempotency_key_reused",
                "another request that had this Idempotency-Key",
                "send the same body again, or a new key with a new question",
            )
        if row.status is None:
            raise _refused(
                409,
                "idempotency_in_flight",
                "the first request with this Idempotency-Key under way",
                "ask again in some seconds for its answer",
                retry_after_s=2,
            )
        headers = [
            (str(name).encode("latin-1"), str(value).encode("latin-1"))
            for name, value in json.loads(row.headers)
        ]
        return StoredAnswer(int(row.status), headers, str(row.answer).encode())

    def _now(self, connection: sa.Connection) -> float:
        return self._clock() if self._clock else self._store().now(connection)

    def _store(self) -> State:
        if self._state is None:
            opened = self._open()
            with opened.transaction() as connection:
                _metadata.create_all(connection)
            self._state = opened
        return self._state


@dataclass
class RecordedResponse:
    """Sends an answer on and keeps a copy; goes on when the reader has left.

    Attributes:
        send: to the reader.
        keep: stores the whole answer; awaited before its last piece goes out, so that whoever has
            all of it finds it stored.
    """

    send: Send
    keep: Callable[[StoredAnswer], Awaitable[None]]
    is_kept: bool = False
    _is_left: bool = False
    _is_unfinished: bool = False
    _status: int = 0
    _headers: Headers = ()
    _parts: list[bytes] = field(default_factory=list[bytes])

    async def __call__(self, message: Message) -> None:
        """Take one message of the answer."""
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            self._headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            self._parts.append(bytes(message.get("body", b"")))
            self._is_unfinished |= message.get(UNFINISHED, False)
            if not message.get("more_body", False):
                await self._keep()
        if self._is_left:
            return
        try:
            await self.send(message)
        except OSError:
            self._is_left = True  # the reader comes back for it

    async def _keep(self) -> None:
        """Keep what went out, if it is worth it: no error, whole, and of a size to store."""
        body = b"".join(self._parts)
        is_answer = 200 <= self._status < 300 and not self._is_unfinished
        if is_answer and len(body) <= _MAX_BYTES:
            await self.keep(StoredAnswer(self._status, self._headers, body))
            self.is_kept = True


def staying(receive: Receive) -> Receive:
    """A reader who has sent all and never leaves, as far as the work is concerned."""

    async def hear() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            await asyncio.Event().wait()  # until the answer is complete and nobody asks any more
        return message

    return hear


def _refused(
    status: int, code: str, found: str, next_step: str, *, retry_after_s: int | None = None
) -> Refused:
    return Refused(
        status,
        code,
        tried="answer the request once",
        found=found,
        next_step=next_step,
        retry_after_s=retry_after_s,
    )
