"""Limit an account to one purpose and one author, for a teacher or a judge.

Scope: the remaining amount, reserving before a request, settling after it.
Out of scope: limits and sums (`account.py`), prices and requests (the caller).
"""
# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.access.account import Reservation, SpendingAccount
    from twin_resources.access.spending_limits import Purpose


class PurposeBudget:
    """The budget for one purpose and one author, without a client's key.

    Args:
        account: the account of the home.
        author: slug of the author whose texts are sent.
    """

    def __init__(self, account: SpendingAccount, purpose: Purpose, *, author: str) -> None:
        self._account = account
        self._purpose: Purpose = purpose
        self._author = author

    def remaining_usd(self) -> float | None:
        """Return the US dollars that the tightest limit allows, or None without a limit."""
        return self._account.remaining_usd(purpose=self._purpose, author=self._author)

    def reserve(self, usd: float) -> Reservation:
        """Reserve an amount before a request.

        Raises:
            OverLimitError: if it would exceed a limit; nothing is reserved.
        """
        return self._account.reserve(
            purpose=self._purpose, author=self._author, key="", max_usd=usd
        )

    def settle(self, reservation: Reservation, usd: float) -> None:
        """Replace the reserved amount with the actual cost of the request."""
        self._account.settle(reservation, usd)

    def check_available(self, usd: float) -> None:
        """Check that this amount may be spent now. Nothing is reserved.

        Raises:
            OverLimitError: if it would exceed a limit.
        """
        self._account.release(self.reserve(usd))
