"""The one account of a home: what paid models have cost, and what they may still cost.

Scope: reserving the most that a request can cost, settling what it did cost, and reports.
Out of scope: limits (`spending_limits.py`), rows (`account_rows.py`), prices
(`paid_budget.py`), what a request sends, who may ask (`keys.py`).

Money is checked before it is spent: whoever pays reserves the most first and settles afterwards,
each in one write transaction of the state store, so that several gateways and runs share the limits
to the cent (checked before and charged after, 24 questions at once passed a limit 10 times over).
Who dies in between leaves a reservation; after its deadline it counts in full. What is spent counts
on the UTC day on which it was reserved, so no clock that passes midnight opens a gap. Days only go
on: a clock that goes back counts on the newest day that the account knows.

Amounts are whole nano-dollars in the store: the price of one token is 150 of them, and no sum of
whole numbers drifts.
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
    NANO,
    LimitLine,
    account_tables,
    add,
    close,
    end_overdue,
    in_period,
    line_of,
    nano_of,
    newest_day,
    reservations,
    spending,
    sums,
    take_over_old_accounts,
)
from twin_resources.access.spending_limits import (
    OverLimit,
    Period,
    Purpose,
    Scope,
    SpendingLimit,
    SpendingLimits,
    end_of,
    limits_of,
)
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from twin_resources.settings import Settings
    from twin_resources.storage.state.state import State

# Longer than any request may take with its attempts (300 s each): a reservation that is older has
# lost its process.
DEADLINE_S = 1_800.0


@dataclass(frozen=True)
class Reservation:
    """What was set aside for one request.

    Attributes:
        number: by which it is settled.
        day: UTC, `2026-11-21`; what it costs counts on that day.
        most_usd: what was set aside.
        is_new: false: the idempotency key had been seen, and nothing was set aside again.
        settled_usd: of an idempotency key that was seen: what the request has cost; None: it is
            under way.
    """

    number: int
    purpose: Purpose
    author: str
    key: str
    day: str
    most_usd: float
    is_new: bool = True
    settled_usd: float | None = None


@dataclass(frozen=True)
class AmountSpent:
    """US dollars settled, US dollars that open reservations hold, and settled requests."""

    usd: float
    reserved_usd: float
    requests: int


@dataclass(frozen=True)
class LimitHeadroom:
    """What one limit leaves.

    Attributes:
        left_usd: that may still be reserved, at least 0.
        seconds_left: until its period ends.
    """

    scope: Scope
    period: Period
    left_usd: float
    seconds_left: float


class SpendingAccount:
    """The account of one home; safe to share between threads, and between processes by its store.

    Args:
        state: the state store.
        limits: of the home, its purposes and its authors.
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
            take_over_old_accounts(connection)

    def reserve(
        self,
        *,
        purpose: Purpose,
        author: str,
        key: str,
        most_usd: float,
        idempotency_key: str = "",
        key_limit: SpendingLimit | None = None,
        within_s: float = DEADLINE_S,
    ) -> Reservation:
        """Set aside the most that a request can cost, before it is sent.

        Args:
            key: id of the key that asks (`keys.Key.id`); empty: no reader asks.
            most_usd: rounded up to whole nano-dollars.
            idempotency_key: the same one of the same key and purpose within a week sets nothing
                aside again, see `Reservation.is_new`.
            key_limit: what this key may spend.
            within_s: after so many seconds without a settlement it counts in full.

        Raises:
            OverLimit: it would pass a limit.
            ValueError: an amount that is negative or no number.
        """
        most = nano_of(most_usd, up=True)
        with self._state.transaction() as connection:
            now = self._now(connection)
            end_overdue(connection, now)
            if idempotency_key:
                seen = _seen(connection, idempotency_key, purpose=purpose, key=key)
                if seen is not None:
                    return seen
            moment = self._moment(connection)
            purpose_fields = {"purpose": purpose, "author": author, "key": key}
            self._hold_against_limits(connection, purpose_fields, most, key_limit, moment)
            day = moment.date().isoformat()
            number = connection.execute(
                sa.insert(reservations).values(
                    day=day,
                    **purpose_fields,
                    nano=most,
                    idempotency_key=idempotency_key,
                    status="open",
                    deadline=now + within_s,
                )
            ).inserted_primary_key
        assert number is not None  # an insert with an autoincrement column has one
        return Reservation(int(number[0]), purpose, author, key, day, most / NANO)

    def settle(self, reservation: Reservation, usd: float) -> None:
        """Put what a request did cost in the place of what was set aside for it.

        The first call counts. A reservation that was overdue, and counted in full, is put right.
        More than was set aside counts as well: it is spent.

        Raises:
            ValueError: an amount that is negative or no number.
            TwinError: the store knows no such reservation.
        """
        self._end(reservation, nano_of(usd), status="settled")

    def release(self, reservation: Reservation) -> None:
        """Give back what was set aside: the request was never sent, or cost nothing."""
        self._end(reservation, 0, status="released")

    def spent(
        self,
        *,
        period: Period = "day",
        purpose: Purpose | None = None,
        author: str | None = None,
        key: str | None = None,
        at: datetime | None = None,
    ) -> AmountSpent:
        """What was spent in the UTC day or month of `at` (now), of all that is named together."""
        rows = self.rows(period=period, at=at)
        named = {"purpose": purpose, "author": author, "key": key}
        of_it = [
            row
            for row in rows
            if all(value is None or row[name] == value for name, value in named.items())
        ]
        return AmountSpent(
            sum(int(row["nano"]) for row in of_it) / NANO,
            sum(int(row["reserved_nano"]) for row in of_it) / NANO,
            sum(int(row["requests"]) for row in of_it),
        )

    def rows(
        self, *, period: Period = "month", at: datetime | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """What was spent by purpose, author and key in the UTC day or month of `at` (now).

        Returns:
            Rows of `purpose`, `author`, `key`, `nano` (settled), `reserved_nano` (held by open
            reservations) and `requests`; the dearest first.
        """
        names = ("purpose", "author", "key")
        rows_by_key: dict[tuple[str, ...], dict[str, Any]] = {}
        with self._state.reading() as connection:
            moment = at or self._moment(connection)
            for table, column, conditions in (
                (spending, "nano", ()),
                (reservations, "reserved_nano", (reservations.c.status == "open",)),
            ):
                grouped = [table.c[name] for name in names]
                counted = sa.func.sum(table.c.requests) if table is spending else sa.literal(0)
                statement = (
                    sa.select(*grouped, sa.func.sum(table.c.nano), counted)
                    .where(in_period(table, period, moment), *conditions)
                    .group_by(*grouped)
                )
                summed: Sequence[Any] = connection.execute(statement).all()
                for *group, nano, requests in summed:
                    row = rows_by_key.setdefault(
                        tuple(group),
                        dict(zip(names, group, strict=True))
                        | {"nano": 0, "reserved_nano": 0, "requests": 0},
                    )
                    row[column] += int(nano)
                    row["requests"] += int(requests)
        return sorted(rows_by_key.values(), key=lambda row: -(row["nano"] + row["reserved_nano"]))

    def left(
        self,
        *,
        purpose: Purpose,
        author: str,
        key: str = "",
        key_limit: SpendingLimit | None = None,
    ) -> float | None:
        """US dollars that may be reserved now before the nearest limit; None: there is no limit."""
        rooms = self.rooms(purpose=purpose, author=author, key=key, key_limit=key_limit)
        return min((room.left_usd for room in rooms), default=None)

    def rooms(
        self,
        *,
        purpose: Purpose,
        author: str,
        key: str = "",
        key_limit: SpendingLimit | None = None,
    ) -> list[LimitHeadroom]:
        """What each limit that applies leaves now: of home, author, purpose and key; none: []."""
        lines = self._lines({"purpose": purpose, "author": author, "key": key}, key_limit)
        if not lines:
            return []
        with self._state.reading() as connection:
            moment = self._moment(connection)
            spent = sums(connection, spending, lines, moment)
            held = sums(connection, reservations, lines, moment)
        return [
            LimitHeadroom(
                line.scope,
                line.period,
                max(0, nano_of(line.limit_usd) - taken - waiting) / NANO,
                (end_of(line.period, moment) - moment).total_seconds(),
            )
            for line, taken, waiting in zip(lines, spent, held, strict=True)
        ]

    def problem(
        self,
        *,
        purpose: Purpose,
        author: str,
        key: str,
        most_usd: float = 0.0,
        key_limit: SpendingLimit | None = None,
    ) -> str:
        """Which limit is used up, one short clause; empty: `reserve` would pass now.

        Only reads: whoever pays reserves, and may then be told otherwise.
        """
        purpose_fields = {"purpose": purpose, "author": author, "key": key}
        most = max(1, nano_of(most_usd, up=True))
        with self._state.reading() as connection:
            moment = self._moment(connection)
            try:
                self._hold_against_limits(connection, purpose_fields, most, key_limit, moment)
            except OverLimit as error:
                return f"limit a {error.period} of the {error.scope} used up"
        return ""

    def _hold_against_limits(
        self,
        connection: sa.Connection,
        purpose_fields: Mapping[str, Any],
        most: int,
        key_limit: SpendingLimit | None,
        moment: datetime,
    ) -> None:
        lines = self._lines(purpose_fields, key_limit)
        if not lines:
            return
        spent = sums(connection, spending, lines, moment)
        reserved = sums(connection, reservations, lines, moment)
        for line, settled, held in zip(lines, spent, reserved, strict=True):
            if settled + held + most > nano_of(line.limit_usd):
                raise OverLimit(
                    scope=line.scope,
                    name=line.name,
                    period=line.period,
                    limit_usd=line.limit_usd,
                    spent_usd=settled / NANO,
                    reserved_usd=held / NANO,
                    most_usd=most / NANO,
                    now=moment,
                )

    def _lines(
        self, purpose_fields: Mapping[str, Any], key_limit: SpendingLimit | None
    ) -> list[LimitLine]:
        purpose = self.limits.purposes.get(purpose_fields["purpose"], SpendingLimit())
        limits: tuple[tuple[Scope, str, SpendingLimit], ...] = (
            ("key", purpose_fields["key"], key_limit or SpendingLimit()),
            (
                "author",
                purpose_fields["author"],
                self.limits.author if purpose_fields["author"] else SpendingLimit(),
            ),
            ("purpose", purpose_fields["purpose"], purpose),
            ("home", "", self.limits.home),
        )
        periods: tuple[Period, ...] = ("day", "month")
        return [
            LimitLine(scope, name, period, usd)
            for scope, name, limit in limits
            for period in periods
            if (usd := limit.of(period)) is not None
        ]

    def _end(self, reservation: Reservation, nano: int, *, status: str) -> None:
        with self._state.transaction() as connection:
            row = connection.execute(
                sa.select(reservations).where(reservations.c.number == reservation.number)
            ).first()
            if row is None:
                raise TwinError(
                    f"settle the reservation {reservation.number}",
                    found="no such number: it ended over a week ago, or was forgotten",
                    next_step="reserve again before you send the request",
                )
            if row.status not in {"open", "overdue"}:
                return
            # what was overdue has counted in full, as one request
            counted = (int(row.nano), 1) if row.status == "overdue" else (0, 0)
            requests = 0 if status == "released" else 1
            add(connection, line_of(row), nano - counted[0], requests - counted[1])
            close(connection, int(row.number), status, nano, self._now(connection))

    def _moment(self, connection: sa.Connection) -> datetime:
        """Now, UTC; behind a clock that went back the beginning of the newest day of the account.

        Else each day that it goes back to would have a budget of its own.
        """
        now = datetime.fromtimestamp(self._now(connection), UTC)
        newest = newest_day(connection)
        if newest <= now.date().isoformat():
            return now
        return datetime.fromisoformat(newest).replace(tzinfo=UTC)

    def _now(self, connection: sa.Connection) -> float:
        return self._clock() if self._clock is not None else self._state.now(connection)


def account_of(settings: Settings, state: State) -> SpendingAccount:
    """The account of a home, with the limits of its settings."""
    return SpendingAccount(state, limits_of(settings))


def _seen(
    connection: sa.Connection, idempotency_key: str, *, purpose: Purpose, key: str
) -> Reservation | None:
    row = connection.execute(
        sa.select(reservations)
        .where(
            reservations.c.idempotency_key == idempotency_key,
            reservations.c.purpose == purpose,
            reservations.c.key == key,
            reservations.c.status != "released",  # it cost nothing: it may be tried again
        )
        .order_by(reservations.c.number.desc())
    ).first()
    if row is None:
        return None
    settled = None if row.settled_nano is None else row.settled_nano / NANO
    return Reservation(
        row.number, purpose, row.author, key, row.day, row.nano / NANO, False, settled
    )
