"""Test the bars that show how much of each budget is spent."""

from __future__ import annotations

import pytest

from twin_resources.page.spending import BudgetSpending, render_spending


@pytest.mark.parametrize(
    ("spent_usd", "budget_usd", "width_percent", "is_full"),
    [(0.5, 2.0, "25.0", False), (1.9, 2.0, "95.0", True), (5, 2.0, "100.0", True)],
)
def test_a_bar_is_the_spent_share(
    spent_usd: float, budget_usd: float, width_percent: str, is_full: bool
) -> None:
    html = render_spending([BudgetSpending("Paid", spent_usd, budget_usd)])
    assert f"width:{width_percent}%" in html
    assert ("twin-full" in html) == is_full
    assert "meter" not in render_spending([BudgetSpending("Paid", spent_usd, None)])
    assert "nothing can be spent" in render_spending([])
