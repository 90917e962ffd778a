"""When a claim about a mean is decided, looked at after every answer.

Scope: the two bets on either side of a limit, with and without a population that ends; how a
level is spent over several looks at an interval.
Out of scope: what is measured and which limit (`sequential_plan.py`, `measures/`),
intervals as such (`bootstrap.py`, `rates.py`).
Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B
86 (2024), https://arxiv.org/abs/2010.09686, sections 4 and 5 (sampling without replacement);
Waudby-Smith and Ramdas, "Confidence sequences for sampling without replacement", NeurIPS 2020,
https://arxiv.org/abs/2006.04347. The bet itself: `twin_resources/statistics/bets.py`.

A gate of N questions asks for the mean over these N. Asked in an order drawn by lot, the next value
has, given those before, the mean of what is left over: (N·m − S)/(N − t) after t values of sum S.
So whoever claims m ≤ limit claims that the next mean is at most n = (N·limit − S)/(N − t), and
against that claim a gambler stakes as `bets.py` does. Under the claim the wealth is a nonnegative
supermartingale and ever reaches 1/α with probability at most α (Ville), looked at as often as one
likes. Once n is negative the claim is refuted for certain, so that the last question decides
whatever no earlier one did: stopping early is another way to the same answer as asking all N, wrong
with probability at most α. That two questions may be about one post does not matter: chance is in
the order alone.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from twin_resources.statistics.bets import factor
from twin_resources.statistics.values import ImpossibleValue

Side = Literal["above", "below"]

# Bold ones: a gate asks a hundred questions at most, in which a stake of 1/64 notices nothing.
FRACTIONS: tuple[float, ...] = (0.5, 1.0)
CERTAIN = math.inf
NOUGHT = 1e-9  # sums of a hundred scores are rounded by less


def decided(
    values: Sequence[float],
    *,
    limit: float,
    of: int | None = None,
    above: float = 0.05,
    below: float = 0.05,
    fractions: Sequence[float] = FRACTIONS,
) -> Side | None:
    """On which side of a limit the mean is; None: that is not decided by these values.

    Args:
        values: in [0, 1], in the order in which they came; call again with more of them, as often
            as you like: what was decided once stays decided.
        limit: in (0, 1); a mean of exactly this is `above`.
        of: how many values there will be at most, drawn in a random order; None: the mean is that
            of whatever they are drawn from, without end.
        above, below: the largest probability of saying either when it is wrong.

    Raises:
        ImpossibleValue: a value outside [0, 1], or more of them than there are.
    """
    if any(not 0.0 <= value <= 1.0 for value in values) or (of is not None and len(values) > of):
        raise ImpossibleValue(
            "decide a claim about a mean",
            found=f"{len(values)} values of {of or 'any number'}, not all in [0, 1]",
            next_step="scale them, and give each once",
        )
    up, down = _Bets(limit, of, fractions), _Bets(1.0 - limit, of, fractions)
    for value in values:
        if up.stake(value) >= 1.0 / above:
            return "above"
        if down.stake(1.0 - value) >= 1.0 / below:
            return "below"
    if of is not None and len(values) == of:  # exactly on the limit: neither side was refuted
        return "above" if math.fsum(values) >= of * limit - NOUGHT else "below"
    return None


def at_looks(level: float, looks: int) -> tuple[float, ...]:
    """What each look at an interval may spend of a level, so that all together spend it.

    A fifth of it at every look but the last, which gets the rest. The sum is what counts (union
    bound): it holds however the looks depend on each other, and wastes a little for that.
    """
    early = level / 5
    return (*[early] * (looks - 1), level - early * (looks - 1))


def planned_looks(
    count: int, looks: Sequence[int], *, level: float
) -> tuple[tuple[int, float], ...]:
    """After how many of `count` observations an interval is looked at, and what each look spends.

    Args:
        looks: ascending; those at `count` or beyond are left out, and the last look is at all.
        level: that all looks spend together, as `at_looks` shares it out.
    """
    ends = [*(end for end in looks if end < count), count]
    return tuple(zip(ends, at_looks(level, len(ends)), strict=True))


class _Bets:
    """Wealth against "the mean is at most this", one stake after the other."""

    def __init__(self, limit: float, of: int | None, fractions: Sequence[float]) -> None:
        self._limit, self._of = limit, of
        self._fractions = fractions
        self._wealth = [1.0] * len(fractions)
        self._seen, self._sum = 0, 0.0

    def stake(self, value: float) -> float:
        """Mean wealth after one more value; infinite once the claim is refuted for certain."""
        null = self._null()
        self._seen, self._sum = self._seen + 1, self._sum + value
        if NOUGHT < null < 1.0:  # with noughts or ones alone left there is nothing to bet on
            self._wealth = [
                wealth * factor(value, null, fraction)
                for wealth, fraction in zip(self._wealth, self._fractions, strict=True)
            ]
        if self._of is not None and self._sum > self._of * self._limit + NOUGHT:
            return CERTAIN
        return sum(self._wealth) / len(self._wealth)

    def _null(self) -> float:
        if self._of is None:
            return self._limit
        return (self._of * self._limit - self._sum) / (self._of - self._seen)
