"""Show this home's spending and budgets as bars.

Scope: reading the account, and the HTML. Out of scope: enforcing limits (`access/paid_budget.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from twin_resources.access.account import open_account
from twin_resources.page.escaping import escape_html
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State


@dataclass(frozen=True)
class BudgetSpending:
    """Spending and the budget for it; `budget_usd` is None without a budget."""

    name: str
    spent_usd: float
    budget_usd: float | None


def read_spending(settings: Settings) -> list[BudgetSpending]:
    """Return today's spending on the paid model, this month's on teacher and judge, and totals.

    Entries with neither a budget nor spending are omitted.
    """
    with closing(State.open(settings.state_address)) as state:
        account = open_account(settings, state)
        budget_lines = (
            (
                "Paid model, today",
                settings.paid_budget_per_day,
                account.sum_spending(purpose="answer"),
            ),
            (
                "Teacher, this month",
                settings.teacher_budget_per_month,
                account.sum_spending(period="month", purpose="teacher"),
            ),
            (
                "Judge, this month",
                settings.judge_budget_per_month,
                account.sum_spending(period="month", purpose="judge"),
            ),
            ("All, today", settings.budget_per_day, account.sum_spending()),
            ("All, this month", settings.budget_per_month, account.sum_spending(period="month")),
        )
    # "All" is shown only with a budget; without one, it would repeat the entries above.
    return [
        BudgetSpending(name, spending.usd, budget)
        for name, budget, spending in budget_lines
        if budget is not None or (spending.usd and not name.startswith("All"))
    ]


def render_spending(budgets: Sequence[BudgetSpending]) -> str:
    """Return one bar per budget as HTML."""
    bars = [_render_bar(budget.name, budget.spent_usd, budget.budget_usd) for budget in budgets]
    empty_html = '<p class="twin-empty">No paid model and no teacher: nothing can be spent.</p>'
    return f"<section><h2>Spending</h2>{''.join(bars) or empty_html}</section>"


def _render_bar(name: str, spent_usd: float, budget_usd: float | None) -> str:
    """Return the spending in dollars as HTML, with a bar if there is a budget."""
    if budget_usd is None:
        return (
            f'<p class="twin-bar-name">{escape_html(name)}: <strong>${spent_usd:.4f}</strong></p>'
        )
    share = 1.0 if budget_usd <= 0 else min(spent_usd / budget_usd, 1.0)
    css_class = " twin-full" if share >= 0.9 else ""
    return (
        f'<p class="twin-bar-name">{escape_html(name)}: <strong>${spent_usd:.4f}</strong> of '
        f'${budget_usd:.2f}</p><div class="twin-bar{css_class}" role="meter" aria-valuemin="0" '
        f'aria-valuemax="{budget_usd:.2f}" aria-valuenow="{spent_usd:.4f}" '
        f'aria-label="{escape_html(name)}">'
        f'<span style="width:{100 * share:.1f}%"></span></div>'
    )
