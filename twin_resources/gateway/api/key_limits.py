"""How many requests a key may send: within a minute, and under way at once.

Scope: counting them in the state store, and the refusal. Out of scope: money
(`account.py`), how many requests this process takes from anybody (`admission.py`).

A sliding window, exact: each request of a key with a limit is a row, so that four gateways count
together what they take. A request whose process died leaves its row, and frees its place after
`STUCK_S`. A key without such limits costs no statement.
"""
# pyright: strict

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twin_resources.access.keys import Key
from twin_resources.access.refusals import Refused
from twin_resources.errors import TwinError
from twin_resources.storage.state.state import State

WINDOW_S = 60.0
# Longer than an answer may take with its attempts: who is still under way then has lost its process
STUCK_S = 900.0
_SOON_S = 2  # a place among those under way may be free in seconds

_metadata = sa.MetaData()
gateway_key_requests = sa.Table(
    "gateway_key_requests",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("is_under_way", sa.Boolean, nullable=False),
    sa.Index("gateway_key_requests_by_key", "key", "at"),
)


@dataclass(frozen=True)
class CountedRequest:
    """One request that was counted; `number` is its row, None: this key has no limit."""

    number: int | None = None


class KeyRequests:
    """Counts the requests of keys with a limit; shared between threads and processes.

    Args:
        state: opens the state store; called at the first key that has a limit.
        clock: seconds since 1970; by default the store's own.
    """

    def __init__(
        self, state: Callable[[], State], *, clock: Callable[[], float] | None = None
    ) -> None:
        self._open = state
        self._state: State | None = None
        self._clock = clock

    def begin(self, key: Key) -> CountedRequest:
        """Count a request, before anything is done for it. Writes: not for the event loop.

        Raises:
            Refused: 429 the key has sent, or has under way, as many as it may; 503 the store cannot
                be written.
        """
        limits = key.limits
        if limits.per_minute is None and limits.at_once is None:
            return CountedRequest()
        try:
            return self._begin(key)
        except (SQLAlchemyError, TwinError) as error:
            if isinstance(error, Refused):
                raise
            raise Refused(
                503,
                "keys_unreadable",
                tried="count the request",
                found=f"the state store does not answer ({type(error).__name__})",
                next_step="try again; its owner checks TWIN_STATE_URL and the gateway's log",
            ) from error

    def end(self, request: CountedRequest) -> None:
        """The request is over. Never raises: its answer has gone out; its place is free later."""
        if request.number is None:
            return
        table = gateway_key_requests
        try:
            with self._store().transaction() as connection:
                connection.execute(
                    sa.update(table)
                    .where(table.c.number == request.number)
                    .values(is_under_way=False)
                )
        except (SQLAlchemyError, TwinError) as error:
            sys.stderr.write(f"the end of a request was not counted: {type(error).__name__}\n")

    def _begin(self, key: Key) -> CountedRequest:
        limits, table = key.limits, gateway_key_requests
        with self._store().transaction() as connection:
            now = self._clock() if self._clock else self._store().now(connection)
            mine = table.c.key == key.id
            connection.execute(
                sa.delete(table).where(
                    mine,
                    table.c.at <= now - WINDOW_S,
                    sa.or_(sa.not_(table.c.is_under_way), table.c.at <= now - STUCK_S),
                )
            )
            if limits.per_minute is not None:
                # the newest of as many as there may be: until it leaves the window all are taken
                within = sa.select(table.c.at).where(mine, table.c.at > now - WINDOW_S)
                newest_first = within.order_by(table.c.at.desc(), table.c.number.desc())
                last = connection.execute(
                    newest_first.offset(limits.per_minute - 1).limit(1)
                ).scalar()
                if last is not None:
                    raise _too_many(key, max(1, math.ceil(float(last) + WINDOW_S - now)))
            if limits.at_once is not None:
                under_way = sa.select(sa.func.count()).where(mine, table.c.is_under_way)
                count = int(connection.execute(under_way).scalar_one())
                if count >= limits.at_once:
                    raise _too_many_at_once(key, count)
            row = {"key": key.id, "at": now, "is_under_way": limits.at_once is not None}
            made = connection.execute(sa.insert(table).values(**row)).inserted_primary_key
        assert made is not None  # an insert with an autoincrement column has one
        return CountedRequest(int(made[0]) if limits.at_once is not None else None)

    def _store(self) -> State:
        if self._state is None:
            opened = self._open()
            with opened.transaction() as connection:
                _metadata.create_all(connection)
            self._state = opened
        return self._state


def _too_many(key: Key, retry_after_s: int) -> Refused:
    return Refused(
        429,
        "key_rate_limited",
        tried="take the request",
        found=f"the {key.limits.per_minute} requests within a minute that this key may send",
        next_step=f"ask again in {retry_after_s} s",
        retry_after_s=retry_after_s,
    )


def _too_many_at_once(key: Key, count: int) -> Refused:
    return Refused(
        429,
        "key_busy",
        tried="take the request",
        found=f"{count} requests of this key under way, of the {key.limits.at_once} that it may "
        "have at once",
        next_step="ask again when one of them is answered",
        retry_after_s=_SOON_S,
    )
