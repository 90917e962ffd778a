"""Choose the operating point that makes the budget last until the end of its period.

Scope: the window of recent questions, and the step that spends no faster than the budget allows.
Out of scope: the account (which enforces its limit in any case), the steps (`fixed_sequence.py`).

The budget allows a rate of spending: the remaining money divided by the remaining time. The chosen
step is the most expensive one that would have kept to this rate on the recent questions, but no
more expensive than the certified one in force. It is chosen again every minute, because the mix and
the rate of questions change. With a constant threshold, the money ran out after 62 % of a period
(`bench_routing.py`). If the budget forces a cheaper step than the certified one, the margin is not
held, and the answer reports this.
"""
# pyright: strict

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from twin_resources.router.features import Floats
from twin_resources.router.fixed_sequence import PriceStep, choose_models

MAX_RECENT_QUESTIONS = 300  # about an hour of a busy day, to follow changes in the mix
MIN_RECENT_QUESTIONS = 20  # minimum for estimating the pace
UPDATE_INTERVAL_S = 60.0


@dataclass
class SpendingPace:
    """The pace of the recent questions to one policy, in one gateway process."""

    _recent_questions: deque[tuple[float, Floats, Floats]] = field(
        default_factory=lambda: deque[tuple[float, Floats, Floats]](maxlen=MAX_RECENT_QUESTIONS)
    )
    _updated_at: float | None = None
    step_index: int = -1  # index of the last update's step, or -1 before the first update

    def record_question(self, now: float, predicted: Floats, usd: Floats) -> None:
        """Record a question.

        Args:
            now: the time of the question, in monotonic seconds.
            predicted: the predicted gains, shape (models − 1,).
            usd: the cost of each model's answer, shape (models,).
        """
        self._recent_questions.append((now, predicted, usd))

    def is_due(self, now: float) -> bool:
        """Return whether `UPDATE_INTERVAL_S` seconds have passed since the last update."""
        return self._updated_at is None or now - self._updated_at >= UPDATE_INTERVAL_S

    def choose_step(
        self,
        now: float,
        steps: Sequence[PriceStep],
        prices: Floats,
        *,
        certified_index: int,
        remaining_usd: float,
        seconds_left: float,
    ) -> int:
        """Return the index of the step to use until the next update.

        Args:
            steps: the steps in their fixed order.
            prices: the mean US dollars per answer from which the steps were computed.
            certified_index: the index of the certified step in force, the most expensive allowed.
            remaining_usd: the US dollars left under the limit that allows the slowest spending.
            seconds_left: the seconds until that limit's period ends.
        """
        self._updated_at = now
        self.step_index = certified_index
        if remaining_usd <= 0.0:
            self.step_index = len(steps) - 1
        elif len(self._recent_questions) >= MIN_RECENT_QUESTIONS and seconds_left > 0.0:
            elapsed_s = max(now - self._recent_questions[0][0], 1e-3)
            predicted_gains = np.stack([question[1] for question in self._recent_questions])
            usd = np.stack([question[2] for question in self._recent_questions])
            allowed_usd_per_s = remaining_usd / seconds_left
            question_indices = np.arange(len(usd))
            for index in range(certified_index, len(steps)):
                models = choose_models(predicted_gains, prices, steps[index].weight)
                # The home's own machines are not part of the budget. Only answers of the last model
                # in the list are paid for.
                is_paid = models == len(prices) - 1
                spent_usd = float(np.where(is_paid, usd[question_indices, models], 0.0).sum())
                self.step_index = index
                if spent_usd / elapsed_s <= allowed_usd_per_s:
                    break
        return self.step_index
