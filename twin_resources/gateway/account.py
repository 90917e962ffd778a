"""The one account of a home: what paid models have cost, and what they may still cost.

Belongs here: reserving the most that a request can cost, settling what it did cost, the limits by
home, purpose, author and key, by day and by month, and reports of all that.
Does not belong here: prices (`paid_budget.py`), what a request sends, who may ask (`keys.py`).

Money is checked before it is spent: whoever pays reserves the most first and settles afterwards,
each in one write transaction of the state store, so that several gateways and runs share the limits
to the cent (checked before and charged after, 24 questions at once passed a limit 10 times over).
Who dies in between leaves a reservation; after its deadline it counts in full. What is spent counts
on the UTC day on which it was reserved, so no clock that passes midnight opens a gap.

Amounts are whole nano-dollars in the store: the price of one token is 150 of them, and no sum of
whole numbers drifts.
Method: authorize and capture of card payments, https://docs.stripe.com/payments/place-a-hold
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

import sqlalchemy as sa

from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from twin_resources.settings import Settings
    from twin_resources.state.state import State

Purpose = Literal["answer", "teacher", "judge", "label"]
Period = Literal["day", "month"]
Scope = Literal["home", "purpose", "author", "key"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
NANO = 1_000_000_000
# Longer than any request may take with its attempts (300 s each): a reservation that is older has
# lost its process.
DEADLINE_S = 1_800.0
# Ended reservations are kept for callers that name an idempotency key, and for late settlements.
_KEPT_S = 7 * 24 * 3600.0

_metadata = sa.MetaData()
spending = sa.Table(
    "account_spending",
    _metadata,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("purpose", sa.String(16), primary_key=True),
    sa.Column("author", sa.String(200), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("nano", sa.BigInteger, nullable=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
)
reservations = sa.Table(
    "account_reservations",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("day", sa.String(10), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("nano", sa.BigInteger, nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False),
    sa.Column("status", sa.String(8), nullable=False),  # open, settled, released, overdue
    sa.Column("deadline", sa.Double, nullable=False),
    sa.Column("settled_nano", sa.BigInteger),
    sa.Column("ended_at", sa.Double),
    sa.Index("account_reservations_by_status", "status", "deadline"),
    sa.Index("account_reservations_by_idempotency", "idempotency_key"),
)
TABLES = (spending.name, reservations.name)


@dataclass(frozen=True)
class SpendingLimit:
    """At most so many US dollars; None: no limit."""

    usd_per_day: float | None = None
    usd_per_month: float | None = None

    def of(self, period: Period) -> float | None:
        """The limit of one period."""
        return self.usd_per_day if period == "day" else self.usd_per_month


@dataclass(frozen=True)
class SpendingLimits:
    """The limits of a home that hold for every request; a key brings its own.

    Attributes:
        home: of all that is spent.
        author: of each author.
        purposes: of one purpose in the whole home.
    """

    home: SpendingLimit = SpendingLimit()
    author: SpendingLimit = SpendingLimit()
    purposes: Mapping[Purpose, SpendingLimit] = field(default_factory=dict[Purpose, SpendingLimit])


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


class OverLimit(TwinError):
    """A reservation would pass a limit; nothing was reserved.

    Attributes:
        scope, name: whose limit: the home's (name empty), a purpose's, an author's or a key's.
        period: `day` or `month`.
        limit_usd, spent_usd, reserved_usd, most_usd: the limit, what is settled, what others hold
            now, and what was asked for.
        opens_at: when the period ends, UTC.
        retry_after_s: seconds until then, at least 1.
    """

    def __init__(
        self,
        *,
        scope: Scope,
        name: str,
        period: Period,
        limit_usd: float,
        spent_usd: float,
        reserved_usd: float,
        most_usd: float,
        now: datetime,
    ) -> None:
        self.scope: Scope = scope
        self.name = name
        self.period: Period = period
        self.limit_usd, self.spent_usd, self.reserved_usd = limit_usd, spent_usd, reserved_usd
        self.most_usd = most_usd
        self.opens_at = _end_of(period, now)
        self.retry_after_s = max(1, math.ceil((self.opens_at - now).total_seconds()))
        whose = scope if not name else f"{scope} {name}"
        opens = f"{self.opens_at:%Y-%m-%d %H:%M} UTC"
        if most_usd > limit_usd:
            next_step = (
                f"ask for a shorter answer, or raise this limit {_where(scope, name, period)}"
            )
        elif spent_usd + most_usd > limit_usd:
            next_step = f"wait until {opens}, or raise this limit {_where(scope, name, period)}"
        else:
            next_step = "ask again in some seconds: what others reserve is given back in part"
        super().__init__(
            f"reserve {dollars(most_usd)}",
            found=f"the limit of {dollars(limit_usd)} a {period} of the {whose}: "
            f"{dollars(spent_usd)} spent and {dollars(reserved_usd)} reserved; "
            f"it opens again at {opens}",
            next_step=next_step,
        )

    @property
    def is_passing(self) -> bool:
        """Whether it is enough to wait for the requests that are under way."""
        return self.spent_usd + self.most_usd <= self.limit_usd


@dataclass(frozen=True)
class _Line:
    """One limit that a reservation is held against."""

    scope: Scope
    name: str
    period: Period
    limit_usd: float


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
            _metadata.create_all(connection)
            _take_over_old_accounts(connection)

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
        most = _nano(most_usd, up=True)
        with self._state.transaction() as connection:
            now = self._now(connection)
            _end_overdue(connection, now)
            if idempotency_key:
                seen = _seen(connection, idempotency_key, purpose=purpose, key=key)
                if seen is not None:
                    return seen
            moment = datetime.fromtimestamp(now, UTC)
            asked = {"purpose": purpose, "author": author, "key": key}
            self._hold_against_limits(connection, asked, most, key_limit, moment)
            day = moment.date().isoformat()
            number = connection.execute(
                sa.insert(reservations).values(
                    day=day,
                    **asked,
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
        self._end(reservation, _nano(usd), status="settled")

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
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        with self._state.reading() as connection:
            moment = at or datetime.fromtimestamp(self._now(connection), UTC)
            for table, column, conditions in (
                (spending, "nano", ()),
                (reservations, "reserved_nano", (reservations.c.status == "open",)),
            ):
                grouped = [table.c[name] for name in names]
                counted = sa.func.sum(table.c.requests) if table is spending else sa.literal(0)
                statement = (
                    sa.select(*grouped, sa.func.sum(table.c.nano), counted)
                    .where(_in_period(table, period, moment), *conditions)
                    .group_by(*grouped)
                )
                summed: Sequence[Any] = connection.execute(statement).all()
                for *group, nano, requests in summed:
                    row = found.setdefault(
                        tuple(group),
                        dict(zip(names, group, strict=True))
                        | {"nano": 0, "reserved_nano": 0, "requests": 0},
                    )
                    row[column] += int(nano)
                    row["requests"] += int(requests)
        return sorted(found.values(), key=lambda row: -(row["nano"] + row["reserved_nano"]))

    def left(
        self,
        *,
        purpose: Purpose,
        author: str,
        key: str = "",
        key_limit: SpendingLimit | None = None,
    ) -> float | None:
        """US dollars that may be reserved now before the nearest limit; None: there is no limit."""
        lines = self._lines({"purpose": purpose, "author": author, "key": key}, key_limit)
        if not lines:
            return None
        with self._state.reading() as connection:
            moment = datetime.fromtimestamp(self._now(connection), UTC)
            spent = _sums(connection, spending, lines, moment)
            held = _sums(connection, reservations, lines, moment)
        return min(
            max(0, _nano(line.limit_usd) - taken - waiting) / NANO
            for line, taken, waiting in zip(lines, spent, held, strict=True)
        )

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
        asked = {"purpose": purpose, "author": author, "key": key}
        most = max(1, _nano(most_usd, up=True))
        with self._state.reading() as connection:
            moment = datetime.fromtimestamp(self._now(connection), UTC)
            try:
                self._hold_against_limits(connection, asked, most, key_limit, moment)
            except OverLimit as error:
                return f"limit a {error.period} of the {error.scope} used up"
        return ""

    def _hold_against_limits(
        self,
        connection: sa.Connection,
        asked: Mapping[str, Any],
        most: int,
        key_limit: SpendingLimit | None,
        moment: datetime,
    ) -> None:
        lines = self._lines(asked, key_limit)
        if not lines:
            return
        spent = _sums(connection, spending, lines, moment)
        reserved = _sums(connection, reservations, lines, moment)
        for line, settled, held in zip(lines, spent, reserved, strict=True):
            if settled + held + most > _nano(line.limit_usd):
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

    def _lines(self, asked: Mapping[str, Any], key_limit: SpendingLimit | None) -> list[_Line]:
        purpose = self.limits.purposes.get(asked["purpose"], SpendingLimit())
        limits: tuple[tuple[Scope, str, SpendingLimit], ...] = (
            ("key", asked["key"], key_limit or SpendingLimit()),
            ("author", asked["author"], self.limits.author if asked["author"] else SpendingLimit()),
            ("purpose", asked["purpose"], purpose),
            ("home", "", self.limits.home),
        )
        periods: tuple[Period, ...] = ("day", "month")
        return [
            _Line(scope, name, period, usd)
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
                    found="none of that number: it ended more than a week ago, or was forgotten",
                    next_step="reserve anew before a request is sent",
                )
            if row.status not in {"open", "overdue"}:
                return
            # what was overdue has counted in full, as one request
            counted = (int(row.nano), 1) if row.status == "overdue" else (0, 0)
            requests = 0 if status == "released" else 1
            _add(connection, _line_of(row), nano - counted[0], requests - counted[1])
            _close(connection, int(row.number), status, nano, self._now(connection))

    def _now(self, connection: sa.Connection) -> float:
        return self._clock() if self._clock is not None else self._state.now(connection)


def limits_of(settings: Settings) -> SpendingLimits:
    """The limits that a home's settings name."""
    return SpendingLimits(
        home=SpendingLimit(settings.budget_per_day, settings.budget_per_month),
        author=SpendingLimit(settings.author_budget_per_day, settings.author_budget_per_month),
        purposes={
            "answer": SpendingLimit(usd_per_day=settings.paid_budget_per_day),
            "teacher": SpendingLimit(usd_per_month=settings.teacher_budget_per_month),
            "label": SpendingLimit(usd_per_month=settings.label_budget_per_month),
        },
    )


def account_of(settings: Settings, state: State) -> SpendingAccount:
    """The account of a home, with the limits of its settings."""
    return SpendingAccount(state, limits_of(settings))


def dollars(usd: float) -> str:
    """An amount for people: two decimals, or as many as a smaller one needs to be seen."""
    if usd == 0 or abs(usd) >= 0.095:
        return f"${usd:.2f}"
    decimals = min(9, 1 - math.floor(math.log10(abs(usd))))
    return f"${usd:.{decimals}f}"


def unname(connection: sa.Connection, column: Literal["author", "key"], name: str) -> int:
    """Take a forgotten author or key from what was spent; the sums stay, or limits would open.

    Returns:
        How many rows were changed.
    """
    _metadata.create_all(connection)
    rows = connection.execute(sa.select(spending).where(spending.c[column] == name)).all()
    for row in rows:
        line = _line_of(row)
        connection.execute(sa.delete(spending).where(*_is(line)))
        _add(connection, {**line, column: ""}, int(row.nano), int(row.requests))
    changed = connection.execute(
        sa.update(reservations)
        .where(reservations.c[column] == name)
        .values({column: "", "idempotency_key": ""})
    )
    return len(rows) + changed.rowcount


def _line_of(row: Any) -> dict[str, str]:
    """The key of a row's line in `account_spending`."""
    return {"day": row.day, "purpose": row.purpose, "author": row.author, "key": row.key}


def _is(line: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    return [spending.c[name] == value for name, value in line.items()]


def _add(connection: sa.Connection, line: Mapping[str, str], nano: int, requests: int) -> None:
    changed = connection.execute(
        sa.update(spending)
        .where(*_is(line))
        .values(nano=spending.c.nano + nano, requests=spending.c.requests + requests)
    )
    if changed.rowcount == 0:
        connection.execute(sa.insert(spending).values(**line, nano=nano, requests=requests))


def _close(connection: sa.Connection, number: int, status: str, nano: int, now: float) -> None:
    connection.execute(
        sa.update(reservations)
        .where(reservations.c.number == number)
        .values(status=status, settled_nano=nano, ended_at=now)
    )


def _end_overdue(connection: sa.Connection, now: float) -> None:
    """Count in full what nobody has settled in time, and drop what ended long ago."""
    overdue = connection.execute(
        sa.select(reservations).where(
            reservations.c.status == "open", reservations.c.deadline < now
        )
    ).all()
    for row in overdue:
        _add(connection, _line_of(row), int(row.nano), 1)
        _close(connection, int(row.number), "overdue", int(row.nano), now)
    connection.execute(
        sa.delete(reservations).where(
            reservations.c.status != "open",
            # `deadline` is in the index; nothing ends later than a deadline and what is kept
            reservations.c.deadline < now - _KEPT_S,
            reservations.c.ended_at < now - _KEPT_S,
        )
    )


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


def _sums(
    connection: sa.Connection, table: sa.Table, lines: Sequence[_Line], moment: datetime
) -> list[int]:
    """Nano-dollars by line, in one pass over the month's rows."""
    columns = [
        sa.func.coalesce(
            sa.func.sum(
                sa.case(
                    (
                        sa.and_(_in_scope(table, line), _in_period(table, line.period, moment)),
                        table.c.nano,
                    ),
                    else_=0,
                )
            ),
            0,
        )
        for line in lines
    ]
    of_the_month = _in_period(table, "month", moment)
    is_open = [table.c.status == "open"] if table is reservations else []
    row = connection.execute(sa.select(*columns).where(of_the_month, *is_open)).one()
    return [int(value) for value in row]


def _in_scope(table: sa.Table, line: _Line) -> sa.ColumnElement[bool]:
    return sa.true() if line.scope == "home" else table.c[line.scope] == line.name


def _in_period(table: sa.Table, period: Period, moment: datetime) -> sa.ColumnElement[bool]:
    day = moment.date()
    if period == "day":
        return table.c.day == day.isoformat()
    return table.c.day.between(
        day.replace(day=1).isoformat(), (_end_of("month", moment).date() - _ONE_DAY).isoformat()
    )


_ONE_DAY = timedelta(days=1)


def _end_of(period: Period, now: datetime) -> datetime:
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return midnight + _ONE_DAY
    return (midnight.replace(day=28) + timedelta(days=4)).replace(day=1)


def _where(scope: Scope, name: str, period: Period) -> str:
    """Where a limit is set."""
    names: Mapping[tuple[str, str], str] = {
        ("home", "day"): "TWIN_BUDGET_PER_DAY",
        ("home", "month"): "TWIN_BUDGET_PER_MONTH",
        ("author", "day"): "TWIN_AUTHOR_BUDGET_PER_DAY",
        ("author", "month"): "TWIN_AUTHOR_BUDGET_PER_MONTH",
        ("answer", "day"): "TWIN_PAID_BUDGET_PER_DAY",
        ("teacher", "month"): "TWIN_TEACHER_BUDGET_PER_MONTH",
        ("label", "month"): "TWIN_LABEL_BUDGET_PER_MONTH",
        ("key", "day"): "twin keys add --usd-per-day",
    }
    set_by = names.get((name if scope == "purpose" else scope, period))
    return f"({set_by})" if set_by else "where the account was opened"


def _nano(usd: float, *, up: bool = False) -> int:
    """Whole nano-dollars.

    Raises:
        ValueError: negative, infinite or no number.
    """
    if not math.isfinite(usd) or usd < 0:
        raise ValueError(f"an amount of money is zero or more US dollars, not {usd}")
    # the rounding first: .1 + .2 is a hair above .3, and must not cost a nano-dollar more
    exact = round(usd * NANO, 3)
    return math.ceil(exact) if up else round(exact)


def _take_over_old_accounts(connection: sa.Connection) -> None:
    """What the accounts of the paid model and the teacher held before there was one account."""
    there = set(sa.inspect(connection).get_table_names())
    for name, column, purpose in (
        ("paid_spending", "day", "answer"),
        ("teacher_spending", "month", "teacher"),
    ):
        if name not in there:
            continue
        old = sa.table(name, sa.column(column), sa.column("usd"))
        for period, usd in connection.execute(sa.select(old.c[column], old.c.usd)).all():
            day = period if column == "day" else f"{period}-01"
            line = {"day": day, "purpose": purpose, "author": "", "key": ""}
            _add(connection, line, _nano(max(0.0, float(usd)), up=True), 0)
        connection.execute(sa.text(f"DROP TABLE {name}"))
