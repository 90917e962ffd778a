"""What was spent of this home's budgets, as bars.

Scope: reading the account, the HTML. Out of scope: where a limit applies
(`access/paid_budget.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from twin_resources.access.account import account_of
from twin_resources.page.readable import as_text
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class BudgetSpending:
    """What was spent of one budget, US dollars; `budget` None: there is none."""

    name: str
    spent: float
    budget: float | None


def spending(settings: Settings) -> list[BudgetSpending]:
    """Today's of the paid model, this month's of teacher, judge and all; only what was configured
    or used."""
    with closing(State.open(settings.state_address)) as state:
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
    # of all: where it has a limit of its own, else it says what the lines above say
    return [
        BudgetSpending(name, spent.usd, budget)
        for name, budget, spent in lines
        if budget is not None or (spent.usd and not name.startswith("All"))
    ]


def spending_figures(accounts: Sequence[BudgetSpending]) -> str:
    """A bar a budget."""
    made = [_bar(account.name, account.spent, account.budget) for account in accounts]
    nothing = '<p class="twin-empty">No paid model and no teacher: nothing can be spent.</p>'
    return f"<section><h2>Spent</h2>{''.join(made) or nothing}</section>"


def _bar(name: str, spent: float, budget: float | None) -> str:
    """What was spent of a budget, in dollars; without a budget the amount alone."""
    if budget is None:
        return f'<p class="twin-bar-name">{as_text(name)}: <strong>${spent:.4f}</strong></p>'
    share = 1.0 if budget <= 0 else min(spent / budget, 1.0)
    kind = " twin-full" if share >= 0.9 else ""
    return (
        f'<p class="twin-bar-name">{as_text(name)}: <strong>${spent:.4f}</strong> of '
        f'${budget:.2f}</p><div class="twin-bar{kind}" role="meter" aria-valuemin="0" '
        f'aria-valuemax="{budget:.2f}" aria-valuenow="{spent:.4f}" aria-label="{as_text(name)}">'
        f'<span style="width:{100 * share:.1f}%"></span></div>'
    )
