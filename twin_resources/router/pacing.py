"""Choose the operating point that makes the budget last until the end of its period.

Scope: the window of recent questions, and the step that spends no faster than the budget allows.
Out of scope: the account (which enforces its limit in any case), the steps (`fixed_order.py`).

The step is the dearest one that is no dearer than the certified one in force and whose spending on
the recent questions, at their pace, stays within money left / seconds left. Both are updated every
minute, which follows a drift of the mix or a burst of questions; a constant threshold ran out of
money after 0.62 of a period (`bench_routing.py`). If money forces a cheaper step than the certified
one, the margin is not held, which the answer reports.
"""
# pyright: strict

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from twin_resources.router.features import Floats
from twin_resources.router.fixed_order import PriceStep, choices

RECENT = 300  # questions, about an hour of a busy day, so that a change of the mix is followed
MIN_RECENT = 20  # questions needed to know their pace
EVERY_S = 60.0


@dataclass(frozen=True)
class BudgetLeft:
    """The budget left.

    Attributes:
        left_usd: US dollars left under the limit that allows the slowest spending.
        seconds_left: seconds until that limit's period ends.
    """

    left_usd: float
    seconds_left: float


@dataclass
class SpendingPace:
    """The recent questions of one gateway process.

    Attributes:
        every_s: seconds between two updates.
    """

    every_s: float = EVERY_S
    _seen: deque[tuple[float, Floats, Floats]] = field(
        default_factory=lambda: deque[tuple[float, Floats, Floats]](maxlen=RECENT)
    )
    _looked: float | None = None
    _step: int = -1

    def see(self, moment: float, predicted: Floats, usd: Floats) -> None:
        """Record a question.

        Args:
            moment: seconds, monotonic.
            predicted: its predicted gains, shape (models − 1,).
            usd: cost of each model's answer, shape (models,).
        """
        self._seen.append((moment, predicted, usd))

    def is_due(self, moment: float) -> bool:
        """Return whether `every_s` seconds have passed since the last update."""
        return self._looked is None or moment - self._looked >= self.every_s

    def look(
        self,
        moment: float,
        money: BudgetLeft,
        steps: Sequence[PriceStep],
        prices: Floats,
        *,
        certified: int,
        processes: float = 1.0,
    ) -> int:
        """Return the index of the step to use until the next update.

        Args:
            steps: the steps in their fixed order.
            prices: mean US dollars per answer from which the steps were computed.
            certified: index of the certified step in force; no dearer one is used.
            processes: ratio of all questions to those of this process; 1 for a single process.
        """
        self._looked = moment
        self._step = certified
        if money.left_usd <= 0.0:
            self._step = len(steps) - 1
        elif len(self._seen) >= MIN_RECENT and money.seconds_left > 0.0:
            since = max(moment - self._seen[0][0], 1e-3)
            predicted = np.stack([question[1] for question in self._seen])
            usd = np.stack([question[2] for question in self._seen])
            allowed = money.left_usd / money.seconds_left
            every = np.arange(len(usd))
            for index in range(certified, len(steps)):
                chosen = choices(predicted, prices, steps[index].weight)
                # Our own machines are paid for anyway and not part of the budget; only the last
                # model of the list is bought.
                bought = chosen == len(prices) - 1
                spent = float(np.where(bought, usd[every, chosen], 0.0).sum())
                self._step = index
                if processes * spent / since <= allowed:
                    break
        return self._step

    @property
    def step(self) -> int:
        """The step of the last update, or −1 before the first."""
        return self._step
