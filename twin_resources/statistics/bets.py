"""The one bet behind every test here, and the fractions it is made with.

Scope: fractions, the factor by which a bet multiplies wealth, wealth in logs.
Out of scope: what is tested with it (`detector.py`, `promotion.py`, `judges.py`).
Method: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
JRSS B 86 (2024), https://arxiv.org/abs/2010.09686

Let y ∈ [0, 1] and let the null hypothesis be E[y | past] ≤ n. Whoever stakes a fraction r of the
largest stake that cannot go broke, λ = .9·r/n, has the factor 1 + λ·(y − n). It is at least
1 − .9·r ≥ .1 (y = 0), so wealth stays positive, and its expectation given the past is at most 1
under the null: the product is a test supermartingale, and by Ville's inequality it ever reaches
1/α with probability at most α, looked at as often as one likes. The mean of the products over
several r is one, too, and needs no knowledge of how large the effect is.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence

BETS = 8
STAKE = 0.9
# Geometric from 1/64 (drops of a few hundredths) to 1 (a broken model).
FRACTIONS: tuple[float, ...] = tuple(2.0 ** (-6 + 6 * k / (BETS - 1)) for k in range(BETS))

NO_WEALTH: tuple[float, ...] = (0.0,) * BETS  # in logs: every bet starts with wealth 1


def factor(y: float, null: float, fraction: float) -> float:
    """What one bet multiplies its wealth by: 1 + (.9·r/n)·(y − n), in [.1, 1 + .9·(1 − n)/n].

    Args:
        y: the observed value in [0, 1].
        null: n, the largest mean that the null hypothesis allows, in (0, 1].
        fraction: r in (0, 1].
    """
    return 1.0 + (STAKE * fraction / null) * (y - null)


def log_stake(logs: Sequence[float], y: float, null: float) -> tuple[float, ...]:
    """Log wealth of each bet after one more value; products of hundreds would underflow."""
    return tuple(
        log + math.log(factor(y, null, fraction))
        for log, fraction in zip(logs, FRACTIONS, strict=True)
    )


def log_mean(logs: Sequence[float]) -> float:
    """Log of the mean wealth over the bets: the log e-value."""
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs) / len(logs))
