"""Keep a home's account: the cost of paid models, and the amounts that limits still allow.

Scope: reserving the maximum cost of a request, settling its actual cost, and reports.
Out of scope: limits (`spending_limits.py`), rows (`account_rows.py`), prices
(`paid_budget.py`), the content of a request, permissions (`keys.py`).

Money is checked before it is spent. A caller reserves the maximum cost before a request and settles
the actual cost afterwards, each in one write transaction of the state store. Several gateways and
runs therefore share the limits to the cent. (When requests were checked before and charged
afterwards, 24 concurrent questions exceeded a limit tenfold.) If a process crashes in between, its
reservation counts in full after the deadline. Spending counts on the UTC day of the reservation, so
that no gap arises at midnight. Days never decrease: if a clock is set back, spending counts on the
account's newest day.

The store keeps amounts as whole nano-dollars. One token costs about 150 of them, and sums of
integers have no rounding error.
Method: authorize and capture of card payments, https://docs.stripe.com/payments/place-a-hold
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from twin_resources.access.account_rows import (
    NANO_PER_DOLLAR,
    ApplicableLimit,
    account_tables,
    add_spending,
    close_overdue_reservations,
    close_reservation,
    newest_day,
    period_condition,
    reservations,
    spending,
    spending_key,
    sum_by_limit,
    to_nano_dollars,
)
from twin_resources.access.spending_limits import (
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

# A request with all its attempts (300 s each) takes less time than this, so the process that made
# an older reservation has ended.
RESERVATION_TIMEOUT_S = 1_800.0


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
            close_overdue_reservations(connection, now)
            moment = self._current_account_time(connection)
            spending_fields = {"purpose": purpose, "author": author, "key": key}
            self._check_limits(connection, spending_fields, max_nano, key_limit, moment)
            day = moment.date().isoformat()
            number = connection.execute(
                sa.insert(reservations).values(
                    day=day,
                    **spending_fields,
                    nano=max_nano,
                    status="open",
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
        self._close_reservation(reservation, to_nano_dollars(usd), status="settled")

    def release(self, reservation: Reservation) -> None:
        """Release the reserved amount of a request that was not sent or cost nothing."""
        self._close_reservation(reservation, 0, status="released")

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
        names = ("purpose", "author", "key")
        rows_by_key: dict[tuple[str, ...], dict[str, Any]] = {}
        with self._state.read_transaction() as connection:
            moment = as_of or self._current_account_time(connection)
            for table, column, conditions in (
                (spending, "nano", ()),
                (reservations, "reserved_nano", (reservations.c.status == "open",)),
            ):
                group_columns = [table.c[name] for name in names]
                request_count = (
                    sa.func.sum(table.c.requests) if table is spending else sa.literal(0)
                )
                statement = (
                    sa.select(*group_columns, sa.func.sum(table.c.nano), request_count)
                    .where(period_condition(table, period, moment), *conditions)
                    .group_by(*group_columns)
                )
                sums: Sequence[Any] = connection.execute(statement).all()
                for *group, nano, requests in sums:
                    row = rows_by_key.setdefault(
                        tuple(group),
                        dict(zip(names, group, strict=True))
                        | {"nano": 0, "reserved_nano": 0, "requests": 0},
                    )
                    row[column] += int(nano)
                    row["requests"] += int(requests)
        return sorted(rows_by_key.values(), key=lambda row: -(row["nano"] + row["reserved_nano"]))

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
        author: str,
        key: str = "",
        key_limit: SpendingLimit | None = None,
    ) -> list[RemainingBudget]:
        """Return what remains under each limit of home, purpose and key that applies."""
        spending_fields = {"purpose": purpose, "author": author, "key": key}
        with self._state.read_transaction() as connection:
            moment = self._current_account_time(connection)
            amounts = self._amounts_by_limit(connection, spending_fields, key_limit, moment)
        return [
            RemainingBudget(
                max(0, to_nano_dollars(limit.limit_usd) - settled_nano - reserved_nano)
                / NANO_PER_DOLLAR,
                (period_end(limit.period, moment) - moment).total_seconds(),
            )
            for limit, settled_nano, reserved_nano in amounts
        ]

    def _check_limits(
        self,
        connection: sa.Connection,
        spending_fields: Mapping[str, Any],
        requested_nano: int,
        key_limit: SpendingLimit | None,
        moment: datetime,
    ) -> None:
        for limit, settled_nano, reserved_nano in self._amounts_by_limit(
            connection, spending_fields, key_limit, moment
        ):
            if settled_nano + reserved_nano + requested_nano > to_nano_dollars(limit.limit_usd):
                raise OverLimitError(
                    scope=limit.scope,
                    name=limit.name,
                    period=limit.period,
                    limit_usd=limit.limit_usd,
                    spent_usd=settled_nano / NANO_PER_DOLLAR,
                    reserved_usd=reserved_nano / NANO_PER_DOLLAR,
                    requested_usd=requested_nano / NANO_PER_DOLLAR,
                    now=moment,
                )

    def _amounts_by_limit(
        self,
        connection: sa.Connection,
        spending_fields: Mapping[str, Any],
        key_limit: SpendingLimit | None,
        moment: datetime,
    ) -> list[tuple[ApplicableLimit, int, int]]:
        """Return each applicable limit with its settled and reserved nano-dollars."""
        limits = self._list_applicable_limits(spending_fields, key_limit)
        if not limits:
            return []
        settled_amounts = sum_by_limit(connection, spending, limits, moment)
        reserved_amounts = sum_by_limit(connection, reservations, limits, moment)
        return list(zip(limits, settled_amounts, reserved_amounts, strict=True))

    def _list_applicable_limits(
        self, spending_fields: Mapping[str, Any], key_limit: SpendingLimit | None
    ) -> list[ApplicableLimit]:
        purpose = self.limits.purposes.get(spending_fields["purpose"], SpendingLimit())
        limits: tuple[tuple[Scope, str, SpendingLimit], ...] = (
            ("key", spending_fields["key"], key_limit or SpendingLimit()),
            ("purpose", spending_fields["purpose"], purpose),
            ("home", "", self.limits.home),
        )
        periods: tuple[Period, ...] = ("day", "month")
        return [
            ApplicableLimit(scope, name, period, usd)
            for scope, name, limit in limits
            for period in periods
            if (usd := limit.limit_for_period(period)) is not None
        ]

    def _close_reservation(self, reservation: Reservation, nano: int, *, status: str) -> None:
        with self._state.transaction() as connection:
            row = connection.execute(
                sa.select(reservations).where(reservations.c.number == reservation.number)
            ).first()
            if row is None:
                raise TwinError(
                    f"settle the reservation {reservation.number}",
                    found="no reservation has this number: it ended over a week ago, "
                    "or its data was erased",
                    next_step="reserve again before you send the request",
                )
            if row.status not in {"open", "overdue"}:
                return
            # An overdue reservation has already counted in full, as one request.
            previous_spending = (int(row.nano), 1) if row.status == "overdue" else (0, 0)
            requests = 0 if status == "released" else 1
            add_spending(
                connection,
                spending_key(row),
                nano - previous_spending[0],
                requests - previous_spending[1],
            )
            close_reservation(connection, int(row.number), status, nano, self._now(connection))

    def _current_account_time(self, connection: sa.Connection) -> datetime:
        """Return the current UTC time, or the start of the account's newest day if that is later.

        Without this rule, setting the clock back would grant a second budget for each earlier day.
        """
        now = datetime.fromtimestamp(self._now(connection), UTC)
        last_day = newest_day(connection)
        if last_day <= now.date().isoformat():
            return now
        return datetime.fromisoformat(last_day).replace(tzinfo=UTC)

    def _now(self, connection: sa.Connection) -> float:
        return self._clock() if self._clock is not None else self._state.now(connection)


def open_account(settings: Settings, state: State) -> SpendingAccount:
    """Return the account of a home, with the limits of its settings."""
    return SpendingAccount(state, limits_from_settings(settings))
