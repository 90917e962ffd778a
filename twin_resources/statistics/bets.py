"""Compute the wealth of a bet, the basis of the tests in this package.

Scope: the fractions staked, the factor by which a bet multiplies wealth, and logs of wealth.
Out of scope: the tests that use it (`detector.py`, `promotion.py`, `judge_certification.py`).
Method: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
JRSS B 86 (2024), https://arxiv.org/abs/2010.09686

Let y ∈ [0, 1] and let the null hypothesis be E[y | past] ≤ n. The largest stake that cannot lose
more than all wealth is 1/n. A bettor who stakes λ = .9·r/n, for a fraction r, multiplies wealth by
1 + λ·(y − n). This factor is at least 1 − .9·r ≥ .1 (y = 0), so wealth stays positive. Its
expectation given the past is at most 1 under the null. The product is therefore a test
supermartingale. By Ville's inequality, it reaches 1/α at any time with probability at most α,
however often it is read. The mean of the products over several r is also a test supermartingale,
and does not require a known effect size.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence

BET_COUNT = 8
STAKE_SHARE = 0.9
# Geometric from 1/64 (drops of a few hundredths) to 1 (a broken model).
FRACTIONS: tuple[float, ...] = tuple(
    2.0 ** (-6 + 6 * k / (BET_COUNT - 1)) for k in range(BET_COUNT)
)

INITIAL_LOG_WEALTH: tuple[float, ...] = (0.0,) * BET_COUNT  # every bet starts with wealth 1


def wealth_factor(value: float, null_mean: float, fraction: float) -> float:
    """Return the factor by which one bet multiplies its wealth.

    The factor is 1 + (.9·r/n)·(y − n), in [.1, 1 + .9·(1 − n)/n].

    Args:
        value: y, the observed value in [0, 1].
        null_mean: n, the largest mean that the null hypothesis allows, in (0, 1].
        fraction: r in (0, 1].
    """
    return 1.0 + (STAKE_SHARE * fraction / null_mean) * (value - null_mean)


def update_log_wealth(
    log_wealth: Sequence[float], value: float, null_mean: float
) -> tuple[float, ...]:
    """Return the log wealth of each bet after one more value; long products would underflow."""
    return tuple(
        previous + math.log(wealth_factor(value, null_mean, fraction))
        for previous, fraction in zip(log_wealth, FRACTIONS, strict=True)
    )


def log_mean_wealth(log_wealth: Sequence[float]) -> float:
    """Return the log of the mean wealth over the bets: the log e-value."""
    max_log = max(log_wealth)
    return max_log + math.log(sum(math.exp(log - max_log) for log in log_wealth) / len(log_wealth))
