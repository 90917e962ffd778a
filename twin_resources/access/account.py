"""Keep a home's account: the cost of paid models, and the amounts that limits still allow.

Money is checked before it is spent. A caller reserves the maximum cost before a request and settles
the actual cost afterwards, each in one write transaction of the state store. Several gateways and
runs therefore share the limits to the cent. (When requests were checked before and charged
afterwards, 24 concurrent questions exceeded a limit tenfold.) If a process crashes in between, its
reservation counts in full after the deadline. Spending counts on the UTC day of the reservation, so
that no gap arises at midnight. Days never decrease: if a clock is set back, spending counts on the
account's newest day.

The store keeps amounts as whole nano-dollars. One token costs about 150 of them, and sums of
integers have no rounding error. Prices are in `paid_budget.py`.
Method: authorize and capture of card payments, https://docs.stripe.com/payments/place-a-hold
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from twin_resources.access.spending_limits import (
    ONE_DAY,
    OverLimitError,
    Period,
    Purpose,
    Scope,
    SpendingLimit,
    SpendingLimits,
    limits_from_settings,
    period_end,
)
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from twin_resources.settings import Settings
    from twin_resources.storage.state.state import State

NANO_PER_DOLLAR = 1_000_000_000
# A request with all its attempts (300 s each) takes less time than this, so the process that made
# an older reservation has ended.
RESERVATION_TIMEOUT_S = 1_800.0
# Older requests of a day, purpose, author and key are one row. No settlement comes so late.
DETAILED_DAYS = 7

account_tables = sa.MetaData()
paid_requests = sa.Table(
    "account_requests",
    account_tables,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("day", sa.String(10), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("nano", sa.BigInteger, nullable=False),  # reserved, and then the cost
    sa.Column("requests", sa.BigInteger, nullable=False),  # 0 if it was not sent or cost nothing
    # Until then, the amount is reserved; after it, the amount counts as spent. Null once settled.
    sa.Column("deadline", sa.Double),
    sa.Index("account_requests_by_day", "day"),
)


@dataclass(frozen=True)
class Reservation:
    """The amount reserved for one request.

    Attributes:
        number: id for the settlement.
        day: UTC day on which the cost counts, such as `2026-11-21`.
        reserved_usd: the reserved amount.
    """

    number: int
    day: str
    reserved_usd: float


@dataclass(frozen=True)
class AmountSpent:
    """US dollars settled, US dollars in open reservations, and number of settled requests."""

    usd: float
    reserved_usd: float
    requests: int


@dataclass(frozen=True)
class RemainingBudget:
    """The amount that one limit still allows, and the time until its period ends.

    Attributes:
        remaining_usd: amount that may still be reserved, at least 0.
        seconds_left: seconds until the period ends.
    """

    remaining_usd: float
    seconds_left: float


@dataclass(frozen=True)
class _UsedLimit:
    """One limit that applies to a request, with what counts against it."""

    scope: Scope
    name: str
    period: Period
    limit_usd: float
    spent_nano: int
    reserved_nano: int


class SpendingAccount:
    """The account of one home, safe for several threads and, through its store, several processes.

    Args:
        state: the state store.
        limits: limits of the home and its purposes.
        clock: seconds since 1970; by default the store's own clock.
    """

    def __init__(
        self,
        state: State,
        limits: SpendingLimits,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._state = state
        self.limits = limits
        self._clock = clock
        self._folded_day = ""
        with state.transaction() as connection:
            account_tables.create_all(connection)

    def reserve(
        self,
        *,
        purpose: Purpose,
        author: str,
        key: str,
        max_usd: float,
        key_limit: SpendingLimit | None = None,
        expires_after_s: float = RESERVATION_TIMEOUT_S,
    ) -> Reservation:
        """Reserve the maximum cost of a request before it is sent.

        Args:
            key: id of the client's key (`keys.Key.id`), or empty if no reader sent the request.
            max_usd: maximum cost, rounded up to whole nano-dollars.
            key_limit: spending limit of this key.
            expires_after_s: seconds after which an unsettled reservation counts in full.

        Raises:
            OverLimitError: if the amount would exceed a limit.
            ValueError: if the amount is negative or not finite.
        """
        max_nano = to_nano_dollars(max_usd, round_up=True)
        with self._state.transaction() as connection:
            now = self._now(connection)
            moment = _account_time(connection, now)
            self._fold_old_days(connection, moment)
            for limit in self._read_limits(connection, purpose, key, key_limit, moment, now):
                used_nano = limit.spent_nano + limit.reserved_nano
                if used_nano + max_nano > to_nano_dollars(limit.limit_usd):
                    raise OverLimitError(
                        scope=limit.scope,
                        name=limit.name,
                        period=limit.period,
                        limit_usd=limit.limit_usd,
                        spent_usd=limit.spent_nano / NANO_PER_DOLLAR,
                        reserved_usd=limit.reserved_nano / NANO_PER_DOLLAR,
                        requested_usd=max_nano / NANO_PER_DOLLAR,
                        now=moment,
                    )
            day = moment.date().isoformat()
            number = connection.execute(
                sa.insert(paid_requests).values(
                    day=day,
                    purpose=purpose,
                    author=author,
                    key=key,
                    nano=max_nano,
                    requests=1,
                    deadline=now + expires_after_s,
                )
            ).inserted_primary_key
        assert number is not None  # an insert with an autoincrement column returns its key
        return Reservation(int(number[0]), day, max_nano / NANO_PER_DOLLAR)

    def settle(self, reservation: Reservation, usd: float) -> None:
        """Replace the reserved amount with the actual cost of the request.

        Only the first call counts. It corrects an overdue reservation, which has counted in full. A
        cost above the reserved amount counts too, because it has been spent.

        Raises:
            ValueError: if the amount is negative or not finite.
            TwinError: if the store has no such reservation.
        """
        self._close(reservation, to_nano_dollars(usd), requests=1)

    def release(self, reservation: Reservation) -> None:
        """Release the reserved amount of a request that was not sent or cost nothing."""
        self._close(reservation, 0, requests=0)

    def _close(self, reservation: Reservation, nano: int, *, requests: int) -> None:
        is_this_one = paid_requests.c.number == reservation.number
        with self._state.transaction() as connection:
            result = connection.execute(
                sa.update(paid_requests)
                .where(is_this_one, paid_requests.c.deadline.is_not(None))
                .values(nano=nano, requests=requests, deadline=None)
            )
            row = sa.select(paid_requests.c.number).where(is_this_one)
            if result.rowcount == 0 and connection.execute(row).first() is None:
                raise TwinError(
                    f"settle the reservation {reservation.number}",
                    found="no reservation has this number: it ended over a week ago, "
                    "or its data was erased",
                    next_step="reserve again before you send the request",
                )

    def sum_spending(
        self,
        *,
        period: Period = "day",
        purpose: Purpose | None = None,
        author: str | None = None,
        key: str | None = None,
        as_of: datetime | None = None,
    ) -> AmountSpent:
        """Return the spending that matches all filters in the UTC day or month of `as_of`.

        The default of `as_of` is the current time.
        """
        filters = {"purpose": purpose, "author": author, "key": key}
        rows = [
            row
            for row in self.list_spending(period=period, as_of=as_of)
            if all(value is None or row[name] == value for name, value in filters.items())
        ]
        return AmountSpent(
            sum(int(row["nano"]) for row in rows) / NANO_PER_DOLLAR,
            sum(int(row["reserved_nano"]) for row in rows) / NANO_PER_DOLLAR,
            sum(int(row["requests"]) for row in rows),
        )

    def list_spending(
        self, *, period: Period = "month", as_of: datetime | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Return the spending by purpose, author and key in the UTC day or month of `as_of`.

        Args:
            as_of: a time in the period; by default the current time.

        Returns:
            Rows of `purpose`, `author`, `key`, `nano` (settled), `reserved_nano` (in open
            reservations) and `requests`, in descending order of the amount.
        """
        columns = paid_requests.c
        with self._state.read_transaction() as connection:
            now = self._now(connection)
            moment = as_of or _account_time(connection, now)
            is_open = columns.deadline >= now
            group = (columns.purpose, columns.author, columns.key)
            rows: Sequence[Any] = connection.execute(
                sa.select(
                    *group,
                    sa.func.sum(sa.case((is_open, 0), else_=columns.nano)),
                    sa.func.sum(sa.case((is_open, columns.nano), else_=0)),
                    sa.func.sum(sa.case((is_open, 0), else_=columns.requests)),
                )
                .where(_is_in_period(period, moment))
                .group_by(*group)
            ).all()
        listed: list[dict[str, Any]] = [
            {
                "purpose": purpose,
                "author": author,
                "key": key,
                "nano": int(nano),
                "reserved_nano": int(reserved_nano),
                "requests": int(requests),
            }
            for purpose, author, key, nano, reserved_nano, requests in rows
        ]
        return sorted(listed, key=lambda row: -(row["nano"] + row["reserved_nano"]))

    def remaining_usd(
        self,
        *,
        purpose: Purpose,
        author: str,
        key: str = "",
        key_limit: SpendingLimit | None = None,
    ) -> float | None:
        """Return the US dollars that the tightest limit allows now, or None without a limit."""
        budgets = self.list_remaining_budgets(
            purpose=purpose, author=author, key=key, key_limit=key_limit
        )
        return min((budget.remaining_usd for budget in budgets), default=None)

    def list_remaining_budgets(
        self,
        *,
        purpose: Purpose,
        author: str,  # noqa: ARG002 - no limit is an author's
        key: str = "",
        key_limit: SpendingLimit | None = None,
    ) -> list[RemainingBudget]:
        """Return what remains under each limit of home, purpose and key that applies."""
        with self._state.read_transaction() as connection:
            now = self._now(connection)
            moment = _account_time(connection, now)
            limits = self._read_limits(connection, purpose, key, key_limit, moment, now)
        return [
            RemainingBudget(
                max(0, to_nano_dollars(limit.limit_usd) - limit.spent_nano - limit.reserved_nano)
                / NANO_PER_DOLLAR,
                (period_end(limit.period, moment) - moment).total_seconds(),
            )
            for limit in limits
        ]

    def _read_limits(
        self,
        connection: sa.Connection,
        purpose: Purpose,
        key: str,
        key_limit: SpendingLimit | None,
        moment: datetime,
        now: float,
    ) -> list[_UsedLimit]:
        """Return the limits that apply, summed in one pass over the month's rows."""
        owners: tuple[tuple[Scope, str, SpendingLimit | None], ...] = (
            ("key", key, key_limit),
            ("purpose", purpose, self.limits.purposes.get(purpose)),
            ("home", "", self.limits.home),
        )
        periods: tuple[Period, ...] = ("day", "month")
        limits: list[tuple[Scope, str, Period, float]] = []
        sums: list[sa.ColumnElement[Any]] = []
        for scope, name, limit in owners:
            for period in periods:
                usd = limit.limit_for_period(period) if limit is not None else None
                if usd is None:
                    continue
                limits.append((scope, name, period, usd))
                counts = _is_in_period(period, moment)
                if scope != "home":
                    counts = sa.and_(counts, paid_requests.c[scope] == name)
                is_open = sa.and_(counts, paid_requests.c.deadline >= now)
                sums += [
                    sa.func.coalesce(sa.func.sum(sa.case((condition, nano), else_=0)), 0)
                    for condition, nano in (
                        (counts, paid_requests.c.nano),
                        (is_open, paid_requests.c.nano),
                    )
                ]
        if not limits:
            return []
        row = connection.execute(sa.select(*sums).where(_is_in_period("month", moment))).one()
        used = [int(value) for value in row]
        return [
            _UsedLimit(*limit, total_nano - open_nano, open_nano)
            for limit, total_nano, open_nano in zip(limits, used[::2], used[1::2], strict=True)
        ]

    def _fold_old_days(self, connection: sa.Connection, moment: datetime) -> None:
        first_day = (moment.date() - timedelta(days=DETAILED_DAYS)).isoformat()
        if self._folded_day == first_day:
            return
        columns = paid_requests.c
        group = (columns.day, columns.purpose, columns.author, columns.key)
        rows: Sequence[Any] = connection.execute(
            sa.select(*group, sa.func.sum(columns.nano), sa.func.sum(columns.requests))
            .where(columns.day < first_day)
            .group_by(*group)
            .having(sa.func.count() > 1)
        ).all()
        for *values, nano, requests in rows:
            is_in_group = [column == value for column, value in zip(group, values, strict=True)]
            connection.execute(sa.delete(paid_requests).where(*is_in_group))
            fields = {column.name: value for column, value in zip(group, values, strict=True)}
            row = fields | {"nano": int(nano), "requests": int(requests)}
            connection.execute(sa.insert(paid_requests).values(**row))
        self._folded_day = first_day

    def _now(self, connection: sa.Connection) -> float:
        return self._clock() if self._clock is not None else self._state.now(connection)


def open_account(settings: Settings, state: State) -> SpendingAccount:
    """Return the account of a home, with the limits of its settings."""
    return SpendingAccount(state, limits_from_settings(settings))


def anonymize(connection: sa.Connection, column: Literal["author", "key"], name: str) -> int:
    """Remove a forgotten author or key from the rows; the sums stay, so that limits still apply.

    Returns:
        Number of changed rows.
    """
    account_tables.create_all(connection)
    is_theirs = paid_requests.c[column] == name
    statement = sa.update(paid_requests).where(is_theirs).values({column: ""})
    return connection.execute(statement).rowcount


def newest_day(connection: sa.Connection) -> str:
    """Return the newest day with a paid request (ISO 8601), or ""."""
    return str(connection.execute(sa.select(sa.func.max(paid_requests.c.day))).scalar() or "")


def to_nano_dollars(usd: float, *, round_up: bool = False) -> int:
    """Convert US dollars to whole nano-dollars.

    Raises:
        ValueError: if the amount is negative or not finite.
    """
    if not math.isfinite(usd) or usd < 0:
        raise ValueError(f"an amount of money must be zero or more US dollars, not {usd}")
    # The first rounding is needed because 0.1 + 0.2 is slightly above 0.3, which must not cost
    # another nano-dollar.
    nano_dollars = round(usd * NANO_PER_DOLLAR, 3)
    return math.ceil(nano_dollars) if round_up else round(nano_dollars)


def _account_time(connection: sa.Connection, now: float) -> datetime:
    """Return the current UTC time, or the start of the account's newest day if that is later.

    Without this rule, setting the clock back would grant a second budget for each earlier day.
    """
    moment, last_day = datetime.fromtimestamp(now, UTC), newest_day(connection)
    if last_day <= moment.date().isoformat():
        return moment
    return datetime.fromisoformat(last_day).replace(tzinfo=UTC)


def _is_in_period(period: Period, moment: datetime) -> sa.ColumnElement[bool]:
    day = moment.date()
    if period == "day":
        return paid_requests.c.day == day.isoformat()
    last_day = period_end("month", moment).date() - ONE_DAY
    return paid_requests.c.day.between(day.replace(day=1).isoformat(), last_day.isoformat())
