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
from twin_resources.storage.state.home_state import open_home_state


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
    with closing(open_home_state(settings)) as state:
        account = open_account(settings, state)
        paid = account.sum_spending(purpose="answer").usd
        teacher = account.sum_spending(period="month", purpose="teacher").usd
        judge = account.sum_spending(period="month", purpose="judge").usd
        today = account.sum_spending().usd
        this_month = account.sum_spending(period="month").usd
    lines = (
        BudgetSpending("Paid model, today", paid, settings.paid_budget_per_day),
        BudgetSpending("Teacher, this month", teacher, settings.teacher_budget_per_month),
        BudgetSpending("Judge, this month", judge, settings.judge_budget_per_month),
        BudgetSpending("All, today", today, settings.budget_per_day),
        BudgetSpending("All, this month", this_month, settings.budget_per_month),
    )
    # "All" is shown only with a budget; without one, it would repeat the entries above.
    return [
        line
        for line in lines
        if line.budget_usd is not None or (line.spent_usd and not line.name.startswith("All"))
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
