"""Limit each key's requests per minute and its concurrent requests.

Scope: counting requests in the state store, and the refusal.
Out of scope: budgets (`account.py`), and the limits of the whole gateway (`admission.py`).

The sliding window is exact. Each request of a key with a limit is a row, so several gateways share
one count. If a process dies, the row of its request frees its place after `IN_PROGRESS_TIMEOUT_S`.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twin_resources.access.keys import Key, key_tables
from twin_resources.access.refusals import RefusedError, refuse_if_store_fails
from twin_resources.errors import TwinError
from twin_resources.gateway.api.admission import AdmissionControl
from twin_resources.storage.state.state import State

WINDOW_S = 60.0
# An answer with its retries takes less time, so the process of an older request has died.
IN_PROGRESS_TIMEOUT_S = 900.0
_RETRY_AFTER_S = 2  # a concurrent request may end within seconds

gateway_key_requests = sa.Table(
    "gateway_key_requests",
    key_tables,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("is_under_way", sa.Boolean, nullable=False),
    sa.Index("gateway_key_requests_by_key", "key", "at"),
)


@dataclass(frozen=True)
class KeyRequestCounter:
    """Counter of the requests of keys with a limit, shared between threads and processes.

    Attributes:
        open_state: returns the state store with `key_tables`; called for each request of a key that
            has a limit.
        clock: returns seconds since 1970; by default the store's clock.
    """

    open_state: Callable[[], State]
    clock: Callable[[], float] | None = None

    def begin(self, key: Key) -> int | None:
        """Count a request before it is processed.

        Writes to the state store, so do not call it on the event loop.

        Returns:
            The number of the request's row, or None if the key has no limit on concurrent requests.

        Raises:
            RefusedError: 429 if the key has reached a limit; 503 if the store cannot be written.
        """
        with refuse_if_store_fails(
            "keys_unreadable", "the owner should check TWIN_STATE_URL and the gateway's log."
        ):
            return self._check_and_insert(key)

    def end(self, number: int) -> None:
        """Free the place of the request with this number, which `begin` returned.

        A failed write is logged and not raised, because the answer has been sent. The place is then
        freed after `IN_PROGRESS_TIMEOUT_S`.
        """
        table = gateway_key_requests
        try:
            with self.open_state().transaction() as connection:
                connection.execute(
                    sa.update(table).where(table.c.number == number).values(is_under_way=False)
                )
        except (SQLAlchemyError, TwinError) as error:
            sys.stderr.write(f"the end of a request was not counted: {type(error).__name__}\n")

    @asynccontextmanager
    async def count(self, key: Key) -> AsyncGenerator[None]:
        """Count a request from its begin to its end; without limits, no statement is executed.

        Raises:
            RefusedError: see `begin`.
        """
        row = None
        if key.limits.per_minute is not None or key.limits.at_once is not None:
            row = await asyncio.to_thread(self.begin, key)
        try:
            yield
        finally:
            if row is not None:
                await asyncio.shield(asyncio.to_thread(self.end, row))

    def _check_and_insert(self, key: Key) -> int | None:
        limits, table = key.limits, gateway_key_requests
        state = self.open_state()
        with state.transaction() as connection:
            now = self.clock() if self.clock else state.now(connection)
            matches_key = table.c.key == key.id
            connection.execute(
                sa.delete(table).where(
                    matches_key,
                    table.c.at <= now - WINDOW_S,
                    sa.or_(
                        sa.not_(table.c.is_under_way), table.c.at <= now - IN_PROGRESS_TIMEOUT_S
                    ),
                )
            )
            if limits.per_minute is not None:
                # With a limit of n, the key stays at its limit until its n-th newest request
                # leaves the window.
                window = sa.select(table.c.at).where(matches_key, table.c.at > now - WINDOW_S)
                newest_first = window.order_by(table.c.at.desc(), table.c.number.desc())
                limiting_time = connection.execute(
                    newest_first.offset(limits.per_minute - 1).limit(1)
                ).scalar()
                if limiting_time is not None:
                    wait_s = max(1, math.ceil(float(limiting_time) + WINDOW_S - now))
                    message = (
                        f"This key has reached its limit of {limits.per_minute} requests per "
                        f"minute; try again in {wait_s} s."
                    )
                    raise RefusedError(429, "key_rate_limited", message, retry_after_s=wait_s)
            if limits.at_once is not None:
                in_progress_query = sa.select(sa.func.count()).where(
                    matches_key, table.c.is_under_way
                )
                count = int(connection.execute(in_progress_query).scalar_one())
                if count >= limits.at_once:
                    message = (
                        f"{count} requests with this key are in progress; its limit is "
                        f"{limits.at_once}. Try again after one of them is answered."
                    )
                    raise RefusedError(429, "key_busy", message, retry_after_s=_RETRY_AFTER_S)
            row = {"key": key.id, "at": now, "is_under_way": limits.at_once is not None}
            primary_key = connection.execute(sa.insert(table).values(**row)).inserted_primary_key
        assert primary_key is not None  # an insert with an autoincrement column returns its key
        return int(primary_key[0]) if limits.at_once is not None else None


@asynccontextmanager
async def count_request(
    key: Key, admission: AdmissionControl, counter: KeyRequestCounter
) -> AsyncGenerator[None]:
    """Count a request that no answer of a model belongs to, from its begin to its end.

    Raises:
        RefusedError: see `AdmissionControl.admit_for_key` and `KeyRequestCounter.begin`.
    """
    with admission.admit_for_key(key.reader):
        async with counter.count(key):
            yield
