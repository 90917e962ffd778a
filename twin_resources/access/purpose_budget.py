"""The account as a teacher or a judge sees it: one author, one purpose, no key.

Scope: what may still be spent for it, reserving before a request, settling after it.
Out of scope: limits and sums (`account.py`), prices and requests (who asks).
"""
# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.access.account import Reservation, SpendingAccount
    from twin_resources.access.spending_limits import Purpose


class PurposeBudget:
    """What one purpose may cost for one author.

    Args:
        account: of the home.
        author: slug of whose texts are shown.
    """

    def __init__(self, account: SpendingAccount, purpose: Purpose, *, author: str) -> None:
        self._account = account
        self._purpose: Purpose = purpose
        self._author = author

    def left(self) -> float | None:
        """US dollars until the nearest limit; None: there is none."""
        return self._account.left(purpose=self._purpose, author=self._author)

    def reserve(self, usd: float) -> Reservation:
        """Set an amount aside before a request.

        Raises:
            OverLimit: it would pass a limit; nothing is set aside.
        """
        return self._account.reserve(
            purpose=self._purpose, author=self._author, key="", most_usd=usd
        )

    def settle(self, reservation: Reservation, usd: float) -> None:
        """Put what a request really cost in the place of what was reserved for it."""
        self._account.settle(reservation, usd)

    def require(self, usd: float) -> None:
        """Make sure that so much may be spent now; nothing stays set aside.

        Raises:
            OverLimit: it would pass a limit.
        """
        self._account.release(self.reserve(usd))
