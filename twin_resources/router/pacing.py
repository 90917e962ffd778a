"""Choose the operating point that makes the budget last until the end of its period.

Scope: the window of recent questions, and the step that spends no faster than the budget allows.
Out of scope: the account (which enforces its limit in any case), the steps (`fixed_order.py`).

The step is the dearest one that is no dearer than the certified one in force and whose spending on
the recent questions, at their pace, stays within money left / seconds left. Both are updated every
minute, so that they follow a drift of the mix or a burst of questions; a constant threshold ran out
of money after 0.62 of a period (`bench_routing.py`). If money forces a cheaper step than the
certified one, the margin is not held, which the answer reports.
"""
# pyright: strict

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from twin_resources.router.features import Floats
from twin_resources.router.fixed_order import PriceStep, choose_models

MAX_RECENT_QUESTIONS = (
    300  # questions, about an hour of a busy day, so that a change of the mix is followed
)
MIN_RECENT_QUESTIONS = 20  # questions needed to know their pace
UPDATE_INTERVAL_S = 60.0


@dataclass(frozen=True)
class RemainingBudget:
    """The budget left.

    Attributes:
        remaining_usd: US dollars left under the limit that allows the slowest spending.
        seconds_left: seconds until that limit's period ends.
    """

    remaining_usd: float
    seconds_left: float


@dataclass
class SpendingPace:
    """The recent questions of one gateway process.

    Attributes:
        update_interval_s: seconds between two updates.
    """

    update_interval_s: float = UPDATE_INTERVAL_S
    _recent_questions: deque[tuple[float, Floats, Floats]] = field(
        default_factory=lambda: deque[tuple[float, Floats, Floats]](maxlen=MAX_RECENT_QUESTIONS)
    )
    _updated_at: float | None = None
    _step: int = -1

    def record_question(self, moment: float, predicted: Floats, usd: Floats) -> None:
        """Record a question.

        Args:
            moment: time of the question, in monotonic seconds.
            predicted: its predicted gains, shape (models − 1,).
            usd: cost of each model's answer, shape (models,).
        """
        self._recent_questions.append((moment, predicted, usd))

    def is_due(self, moment: float) -> bool:
        """Return whether `update_interval_s` seconds have passed since the last update."""
        return self._updated_at is None or moment - self._updated_at >= self.update_interval_s

    def choose_step(
        self,
        moment: float,
        budget: RemainingBudget,
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
        self._updated_at = moment
        self._step = certified
        if budget.remaining_usd <= 0.0:
            self._step = len(steps) - 1
        elif len(self._recent_questions) >= MIN_RECENT_QUESTIONS and budget.seconds_left > 0.0:
            elapsed_s = max(moment - self._recent_questions[0][0], 1e-3)
            predicted = np.stack([question[1] for question in self._recent_questions])
            usd = np.stack([question[2] for question in self._recent_questions])
            allowed = budget.remaining_usd / budget.seconds_left
            question_indices = np.arange(len(usd))
            for index in range(certified, len(steps)):
                chosen = choose_models(predicted, prices, steps[index].weight)
                # One's own machines are paid for anyway and are not part of the budget; only the
                # last model of the list is bought.
                bought = chosen == len(prices) - 1
                spent = float(np.where(bought, usd[question_indices, chosen], 0.0).sum())
                self._step = index
                if processes * spent / elapsed_s <= allowed:
                    break
        return self._step

    @property
    def step(self) -> int:
        """The step of the last update, or −1 before the first."""
        return self._step
