"""What the teacher may still cost this month.

Belongs here: the account of what was spent by month. Does not belong here: prices, requests
(`teacher.py`).

An amount is taken before a request and given back after it, in one transaction each: runs of
several authors share the account, and one that was killed leaves what it had taken as spent. So the
limit holds always. Months are UTC.
"""
# pyright: strict

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from twin_resources.state.state import State

_metadata = sa.MetaData()
teacher_spending = sa.Table(
    "teacher_spending",
    _metadata,
    sa.Column("month", sa.String(7), primary_key=True),
    sa.Column("usd", sa.Double, nullable=False),
)


class TeacherBudget:
    """The budget of one home.

    Args:
        state: the state store.
        usd_per_month: the limit, US dollars.
    """

    def __init__(self, state: State, *, usd_per_month: float) -> None:
        self._state = state
        self._usd_per_month = usd_per_month
        with state.transaction() as connection:
            _metadata.create_all(connection)

    def left(self) -> float:
        """US dollars that may still be spent or are reserved by nobody."""
        with self._state.reading() as connection:
            return self._usd_per_month - _spent(connection)

    def reserve(self, usd: float) -> bool:
        """Take an amount; false, and nothing taken, when that would pass the limit."""
        with self._state.transaction() as connection:
            spent = _spent(connection)
            # sums of doubles may miss the limit by a rounding
            if spent + usd > self._usd_per_month + 1e-9:
                return False
            _add(connection, usd)
        return True

    def settle(self, *, reserved: float, usd: float) -> None:
        """Put what a request really cost in the place of what was reserved for it."""
        with self._state.transaction() as connection:
            _add(connection, usd - reserved)


def _spent(connection: sa.Connection) -> float:
    usd = connection.execute(
        sa.select(teacher_spending.c.usd).where(teacher_spending.c.month == _month())
    ).scalar()
    return float(usd or 0.0)


def _add(connection: sa.Connection, usd: float) -> None:
    changed = connection.execute(
        sa.update(teacher_spending)
        .where(teacher_spending.c.month == _month())
        .values(usd=teacher_spending.c.usd + usd)
    )
    if changed.rowcount == 0:
        connection.execute(sa.insert(teacher_spending).values(month=_month(), usd=usd))


def _month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")
