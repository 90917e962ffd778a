"""What the teacher may still cost, in the home's account.

Belongs here: the teacher's use of the account. Does not belong here: limits and sums
(`gateway/account.py`), prices and requests (`teacher.py`).
"""
# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING

from twin_resources.gateway.account import Reservation
from twin_resources.gateway.spending_limits import OverLimit

if TYPE_CHECKING:
    from twin_resources.gateway.account import SpendingAccount


class TeacherBudget:
    """The account as a teacher sees it.

    Args:
        account: of the home.
        author: slug of whose passages it is shown.
    """

    def __init__(self, account: SpendingAccount, *, author: str) -> None:
        self._account = account
        self._author = author

    def left(self) -> float | None:
        """US dollars until the nearest limit; None: there is none."""
        return self._account.left(purpose="teacher", author=self._author)

    def reserve(self, usd: float) -> Reservation | None:
        """Set an amount aside before a request; None, and nothing set aside: over a limit."""
        try:
            return self._account.reserve(
                purpose="teacher", author=self._author, key="", most_usd=usd
            )
        except OverLimit:
            return None

    def settle(self, reservation: Reservation, usd: float) -> None:
        """Put what a request really cost in the place of what was reserved for it."""
        self._account.settle(reservation, usd)
