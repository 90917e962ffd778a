"""Numbers of this home that no trace holds: the loop's evidence, and what was spent of budgets.

Belongs here: reading them from the state store. Does not belong here: what they mean
(`retraining/`, `access/account.py`), drawing (`charts.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from twin_resources.access.account import account_of
from twin_resources.quality.ledger.ledger_tables import settled
from twin_resources.quality.retraining.evidence_history import StreamHistory, histories_of
from twin_resources.quality.retraining.retraining_rules import rules_of
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class BudgetSpending:
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
            return histories_of(connection, author, rules_of(settings))
    finally:
        state.close()


def spending(settings: Settings) -> list[BudgetSpending]:
    """Today's of the paid model, this month's of teacher, judge and all; only what was configured
    or used."""
    state = State.open(settings.state_address)
    try:
        account = account_of(settings, state)
        lines = (
            ("Paid model, today", settings.paid_budget_per_day, account.spent(purpose="answer")),
            (
                "Teacher, this month",
                settings.teacher_budget_per_month,
                account.spent(period="month", purpose="teacher"),
            ),
            (
                "Judge, this month",
                settings.judge_budget_per_month,
                account.spent(period="month", purpose="judge"),
            ),
            ("All, today", settings.budget_per_day, account.spent()),
            ("All, this month", settings.budget_per_month, account.spent(period="month")),
        )
    finally:
        state.close()
    # of all: where it has a limit of its own, else it says what the lines above say
    return [
        BudgetSpending(name, spent.usd, budget)
        for name, budget, spent in lines
        if budget is not None or (spent.usd and not name.startswith("All"))
    ]
