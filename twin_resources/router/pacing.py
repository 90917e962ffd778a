"""How much money there is for the rest of the period, and the operating point that makes it last.

Scope: the window of recent questions and the step that spends no faster than the budget
allows. Out of scope: the account (it refuses at the limit whatever is decided here), the
steps (`fixed_order.py`).

The step is the dearest one that is not dearer than the certified one in force and whose spending on
the recent questions, at their pace, stays within money left / seconds left. As both are asked again
each minute, a mix that drifts or a rush is followed; a threshold that stands still ran out of money
after .62 of a period (`bench_routing.py`). What is certified is preferred by nothing but its order:
where money forces a cheaper step, the margin is not held, and that is said.
"""
# pyright: strict

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from twin_resources.router.features import Floats
from twin_resources.router.fixed_order import PriceStep, choices

RECENT = 300  # questions: a mix that turns within an hour of a busy day is followed
MIN_RECENT = 20  # below that the pace of the questions is not known
EVERY_S = 60.0


@dataclass(frozen=True)
class BudgetLeft:
    """What may still be spent.

    Attributes:
        left_usd: of the limit that allows the slowest spending, US dollars.
        seconds_left: until that limit restarts.
    """

    left_usd: float
    seconds_left: float


@dataclass
class SpendingPace:
    """The recent questions of one gateway process.

    Attributes:
        every_s: seconds between two looks.
    """

    every_s: float = EVERY_S
    _seen: deque[tuple[float, Floats, Floats]] = field(
        default_factory=lambda: deque[tuple[float, Floats, Floats]](maxlen=RECENT)
    )
    _looked: float | None = None
    _step: int = -1

    def see(self, moment: float, predicted: Floats, usd: Floats) -> None:
        """A question came.

        Args:
            moment: seconds, monotonic.
            predicted: its gains, shape (models − 1,).
            usd: what each model would cost for it, shape (models,).
        """
        self._seen.append((moment, predicted, usd))

    def is_due(self, moment: float) -> bool:
        """Whether a minute has passed since the last look."""
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
        """The index of the step that holds until the next look.

        Args:
            steps: in their order.
            prices: mean US dollars an answer, as the steps were made with.
            certified: index of the step in force: no dearer one is taken.
            processes: how often these questions stand for all (1: this process is alone).
        """
        self._looked = moment
        self._step = certified
        if money.left_usd <= 0.0:
            self._step = len(steps) - 1
        elif len(self._seen) >= MIN_RECENT and money.seconds_left > 0.0:
            since = max(moment - self._seen[0][0], 1e-3)
            predicted = np.stack([one[1] for one in self._seen])
            usd = np.stack([one[2] for one in self._seen])
            allowed = money.left_usd / money.seconds_left
            every = np.arange(len(usd))
            for index in range(certified, len(steps)):
                chosen = choices(predicted, prices, steps[index].weight)
                # Machines of our own are paid for anyway and no part of the budget: the last one of
                # the list is bought.
                bought = chosen == len(prices) - 1
                spent = float(np.where(bought, usd[every, chosen], 0.0).sum())
                self._step = index
                if processes * spent / since <= allowed:
                    break
        return self._step

    @property
    def step(self) -> int:
        """Of the last look; −1: nobody has looked yet."""
        return self._step
