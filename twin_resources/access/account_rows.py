"""Store the account's rows: spending by day, and reservations.

Scope: the two tables, sums over them in one pass, closing overdue reservations, removing a
forgotten name, and conversion to nano-dollars.
Out of scope: limits (`spending_limits.py`), making a reservation (`account.py`).
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from twin_resources.access.spending_limits import ONE_DAY, Period, Scope, period_end

NANO_PER_DOLLAR = 1_000_000_000
# Closed reservations are kept for late settlements.
_RETENTION_S = 7 * 24 * 3600.0
account_tables = sa.MetaData()
spending = sa.Table(
    "account_spending",
    account_tables,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("purpose", sa.String(16), primary_key=True),
    sa.Column("author", sa.String(200), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("nano", sa.BigInteger, nullable=False),
    sa.Column("requests", sa.BigInteger, nullable=False),
)
reservations = sa.Table(
    "account_reservations",
    account_tables,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("day", sa.String(10), nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("author", sa.String(200), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("nano", sa.BigInteger, nullable=False),
    sa.Column("status", sa.String(8), nullable=False),  # open, settled, released, overdue
    sa.Column("deadline", sa.Double, nullable=False),
    sa.Column("settled_nano", sa.BigInteger),
    sa.Column("ended_at", sa.Double),
    sa.Index("account_reservations_by_status", "status", "deadline"),
)
TABLES = (spending.name, reservations.name)


@dataclass(frozen=True)
class ApplicableLimit:
    """One limit against which a reservation is checked."""

    scope: Scope
    name: str
    period: Period
    limit_usd: float


def anonymize(connection: sa.Connection, column: Literal["author", "key"], name: str) -> int:
    """Remove a forgotten author or key from the rows; the sums stay, so that limits still apply.

    Returns:
        Number of changed rows.
    """
    account_tables.create_all(connection)
    rows = connection.execute(sa.select(spending).where(spending.c[column] == name)).all()
    for row in rows:
        spending_row_key = spending_key(row)
        connection.execute(sa.delete(spending).where(*spending_key_conditions(spending_row_key)))
        add_spending(connection, {**spending_row_key, column: ""}, int(row.nano), int(row.requests))
    result = connection.execute(
        sa.update(reservations).where(reservations.c[column] == name).values({column: ""})
    )
    return len(rows) + result.rowcount


def spending_key(row: Any) -> dict[str, str]:
    """Return the primary key in `account_spending` for a row of either table."""
    return {"day": row.day, "purpose": row.purpose, "author": row.author, "key": row.key}


def spending_key_conditions(key_fields: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    return [spending.c[name] == value for name, value in key_fields.items()]


def add_spending(
    connection: sa.Connection, key_fields: Mapping[str, str], nano: int, requests: int
) -> None:
    result = connection.execute(
        sa.update(spending)
        .where(*spending_key_conditions(key_fields))
        .values(nano=spending.c.nano + nano, requests=spending.c.requests + requests)
    )
    if result.rowcount == 0:
        connection.execute(sa.insert(spending).values(**key_fields, nano=nano, requests=requests))


def close_reservation(
    connection: sa.Connection, number: int, status: str, nano: int, now: float
) -> None:
    connection.execute(
        sa.update(reservations)
        .where(reservations.c.number == number)
        .values(status=status, settled_nano=nano, ended_at=now)
    )


def close_overdue_reservations(connection: sa.Connection, now: float) -> None:
    """Count overdue reservations in full, and delete reservations closed over a week ago."""
    overdue_rows = connection.execute(
        sa.select(reservations).where(
            reservations.c.status == "open", reservations.c.deadline < now
        )
    ).all()
    for row in overdue_rows:
        add_spending(connection, spending_key(row), int(row.nano), 1)
        close_reservation(connection, int(row.number), "overdue", int(row.nano), now)
    connection.execute(
        sa.delete(reservations).where(
            reservations.c.status != "open",
            # `deadline` is in the index, unlike `ended_at`.
            reservations.c.deadline < now - _RETENTION_S,
            reservations.c.ended_at < now - _RETENTION_S,
        )
    )


def sum_by_limit(
    connection: sa.Connection, table: sa.Table, limits: Sequence[ApplicableLimit], moment: datetime
) -> list[int]:
    """Return the nano-dollars for each limit, in one pass over the month's rows."""
    columns = [
        sa.func.coalesce(
            sa.func.sum(
                sa.case(
                    (
                        sa.and_(
                            _scope_condition(table, limit),
                            period_condition(table, limit.period, moment),
                        ),
                        table.c.nano,
                    ),
                    else_=0,
                )
            ),
            0,
        )
        for limit in limits
    ]
    in_month = period_condition(table, "month", moment)
    status_conditions = [table.c.status == "open"] if table is reservations else []
    row = connection.execute(sa.select(*columns).where(in_month, *status_conditions)).one()
    return [int(value) for value in row]


def newest_day(connection: sa.Connection) -> str:
    """Return the newest day with spending or an open reservation (ISO 8601), or ""."""
    day_queries = (
        sa.select(sa.func.max(spending.c.day)),
        sa.select(sa.func.max(reservations.c.day)).where(reservations.c.status == "open"),
    )
    return max(str(connection.execute(statement).scalar() or "") for statement in day_queries)


def _scope_condition(table: sa.Table, limit: ApplicableLimit) -> sa.ColumnElement[bool]:
    return sa.true() if limit.scope == "home" else table.c[limit.scope] == limit.name


def period_condition(table: sa.Table, period: Period, moment: datetime) -> sa.ColumnElement[bool]:
    day = moment.date()
    if period == "day":
        return table.c.day == day.isoformat()
    return table.c.day.between(
        day.replace(day=1).isoformat(), (period_end("month", moment).date() - ONE_DAY).isoformat()
    )


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
