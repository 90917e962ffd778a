"""Numbers of this home that no trace holds: the loop's evidence, and what was spent of budgets.

Belongs here: reading them from the state store. Does not belong here: what they mean (`loop/`,
`gateway/paid_budget.py`), drawing (`charts.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from twin_resources.ledger.schema import settled
from twin_resources.loop.evidence_history import StreamHistory, histories_of
from twin_resources.loop.rules import rules_of
from twin_resources.settings import Settings
from twin_resources.state.state import State

SHOWN = 400  # values of a stream: more than a screen has columns for


@dataclass(frozen=True)
class Spending:
    """What was spent of one budget, US dollars; `budget` None: there is none."""

    name: str
    spent: float
    budget: float | None


def evidence(settings: Settings, author: str) -> Sequence[StreamHistory]:
    """The streams of the version that is followed; none before a first sync of feedback."""
    state = State.open(settings.state_address)
    try:
        with state.reading() as connection:
            if not sa.inspect(connection).has_table(settled.name):
                return ()
            return histories_of(connection, author, rules_of(settings), newest=SHOWN)
    finally:
        state.close()


def spending(settings: Settings) -> list[Spending]:
    """Today's of the paid model, this month's of the teacher; only what was configured or used.

    The accounts are tables of the two that spend; one that never spent has none.
    """
    now = datetime.now(UTC)
    state = State.open(settings.state_address)
    accounts = (
        ("Paid model, today", "paid_spending", "day", now.date().isoformat()),
        ("Teacher, this month", "teacher_spending", "month", now.strftime("%Y-%m")),
    )
    budgets = (settings.paid_budget_per_day, settings.teacher_budget_per_month)
    found: list[Spending] = []
    try:
        with state.reading() as connection:
            tables = set(sa.inspect(connection).get_table_names())
            for (name, table, column, period), budget in zip(accounts, budgets, strict=True):
                spent = 0.0
                if table in tables:
                    row = sa.table(table, sa.column(column), sa.column("usd"))
                    usd = sa.select(row.c.usd).where(row.c[column] == period)
                    spent = float(connection.execute(usd).scalar() or 0.0)
                if budget is not None or spent:
                    found.append(Spending(name, spent, budget))
    finally:
        state.close()
    return found
