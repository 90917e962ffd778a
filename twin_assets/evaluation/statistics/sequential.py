"""Decide a claim about a mean by betting, with a test after every answer.

Scope: the bets on both sides of a limit, for finite and infinite populations; splitting a level
over several looks at an interval.
Out of scope: the measured quantity and its limit (`sequential_plan.py`, `measures/`) and intervals
(`bootstrap.py`, `rates.py`).

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B
86 (2024), https://arxiv.org/abs/2010.09686, sections 4 and 5 (sampling without replacement).
Waudby-Smith and Ramdas, "Confidence sequences for sampling without replacement", NeurIPS 2020,
https://arxiv.org/abs/2006.04347. `twin_resources/statistics/bets.py` implements a bet.

A gate with N questions estimates the mean over these N questions, asked in random order. After t
values with sum S, the next value has the mean of the remaining values: (N·m − S)/(N − t). The claim
m ≤ limit therefore implies that this mean is at most n = (N·limit − S)/(N − t), and the bets of
`bets.py` are made against n. Under the claim, the wealth is a nonnegative supermartingale. The
probability that it ever reaches 1/α is at most α (Ville), regardless of the number of tests. A
negative n refutes the claim with certainty, so the last question decides if no earlier question
did. Stopping early gives the same answer as asking all N, except with probability at most α. Two
questions about one post do no harm, because only the order is random.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from twin_resources.statistics.bets import wealth_factor
from twin_resources.statistics.bounds import OutOfRangeError

Side = Literal["above", "below"]

# The fractions are large, because a gate asks at most a hundred questions and a stake of 1/64 would
# detect nothing.
FRACTIONS: tuple[float, ...] = (0.5, 1.0)
INFINITE_WEALTH = math.inf
TOLERANCE = 1e-9  # larger than the rounding error of a sum of a hundred scores


def decide_side(
    values: Sequence[float],
    *,
    limit: float,
    population_size: int | None = None,
    max_false_above: float = 0.05,
    max_false_below: float = 0.05,
) -> Side | None:
    """Return the side of a limit on which the mean lies, or None if the values do not decide it.

    Args:
        values: numbers in [0, 1], in order of arrival. The function may be called again with more
            values at any time; a decision is final.
        limit: number in (0, 1); a mean equal to it counts as `above`.
        population_size: size of the population, drawn in random order; None for an infinite
            population.
        max_false_above, max_false_below: largest probabilities of a wrong `above` and `below`.

    Raises:
        OutOfRangeError: a value is outside [0, 1], or there are more than `population_size` values.
    """
    if any(not 0.0 <= value <= 1.0 for value in values) or (
        population_size is not None and len(values) > population_size
    ):
        raise OutOfRangeError(
            "decide a claim about a mean",
            found=f"{len(values)} values from a population of {population_size or 'any size'}, or "
            "a value outside [0, 1]",
            next_step="scale the values to [0, 1], and pass each only once",
        )
    upper_bets = _Bets(limit, population_size)
    lower_bets = _Bets(1.0 - limit, population_size)
    for value in values:
        if upper_bets.bet_on(value) >= 1.0 / max_false_above:
            return "above"
        if lower_bets.bet_on(1.0 - value) >= 1.0 / max_false_below:
            return "below"
    if population_size is not None and len(values) == population_size:
        # the mean is on the limit, within the rounding error: neither side was refuted
        return "above" if math.fsum(values) >= population_size * limit - TOLERANCE else "below"
    return None


def plan_looks(count: int, looks: Sequence[int], *, level: float) -> tuple[tuple[int, float], ...]:
    """Return the number of observations at each look, and the level that the look uses.

    Every look but the last gets a fifth of the level, and the last gets the remainder. By the union
    bound, the total error rate is at most `level`, even if the looks depend on each other. The
    intervals are somewhat wider than necessary.

    Args:
        looks: numbers of observations, ascending. Numbers of `count` or more are left out, and the
            last look is at all observations.
        level: level of all looks together.
    """
    early_looks = [(end, level / 5) for end in looks if end < count]
    return (*early_looks, (count, level - len(early_looks) * level / 5))


class _Bets:
    """The wealth of bets against the claim that the mean is at most `limit`."""

    def __init__(self, limit: float, population_size: int | None) -> None:
        self._limit, self._population_size = limit, population_size
        self._wealth = [1.0] * len(FRACTIONS)
        self._count, self._sum = 0, 0.0

    def bet_on(self, value: float) -> float:
        """Bet on one more value; return the mean wealth (infinite if the claim is refuted)."""
        null_mean = self._null_mean()
        self._count, self._sum = self._count + 1, self._sum + value
        if TOLERANCE < null_mean < 1.0:  # otherwise, all remaining values are 0 or 1
            self._wealth = [
                wealth * wealth_factor(value, null_mean, fraction)
                for wealth, fraction in zip(self._wealth, FRACTIONS, strict=True)
            ]
        if (
            self._population_size is not None
            and self._sum > self._population_size * self._limit + TOLERANCE
        ):
            return INFINITE_WEALTH
        return sum(self._wealth) / len(self._wealth)

    def _null_mean(self) -> float:
        if self._population_size is None:
            return self._limit
        return (self._population_size * self._limit - self._sum) / (
            self._population_size - self._count
        )
