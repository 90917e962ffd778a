"""Compute lower confidence bounds for the mean of a fixed number of values in [0, 1].

Scope: the Clopper–Pearson bound for binary values, the betting bound for all others, and the error
for values out of range.
Out of scope: the choice of the values (`judge_certification.py`).
Sources: Clopper and Pearson, Biometrika 26 (1934); Waudby-Smith and Ramdas (2024), section 4,
https://arxiv.org/abs/2010.09686.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from twin_resources.errors import TwinError

# Stakes are capped at .75/m, as in the source, so that no single value loses most of the wealth.
MAX_STAKE = 0.75
BISECTION_STEPS = 40  # the bound is within 2^-40, on the low side


class OutOfRangeError(TwinError):
    """A number is outside the range for which the guarantees are valid."""


def clopper_pearson_lower(successes: int, trials: int, *, delta: float) -> float:
    """Return the lower bound of a probability at confidence 1 − delta; 0 if `successes` is 0.

    The bound is the p at which `successes` or more of `trials` have probability delta:
    P(Bin(trials, p) ≥ successes) = I_p(successes, trials − successes + 1), increasing in p.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise OutOfRangeError(
            "bound a probability",
            found=f"{successes} of {trials}",
            next_step="pass at least one trial, and no more successes than trials",
        )
    from scipy.special import betaincinv  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    quantile: Any = betaincinv
    return float(quantile(successes, trials - successes + 1, delta)) if successes else 0.0


def betting_lower_bound(values: Sequence[float], *, delta: float) -> float:
    """Return the lower bound of the mean of values in [0, 1] for any distribution.

    For each m, a gambler stakes λ_i = min(√(2·log(1/δ) / (n·σ²_{i−1})), .75/m) on a larger mean.
    The wealth is K_i(m) = Π(1 + λ_i·(x_i − m)), with σ²_{i−1} from the earlier values. The bound is
    the smallest m whose wealth never reached 1/δ. By Ville's inequality, the true mean is below it
    with probability at most δ. The values need not be independent: E[x_i | past] ≥ the mean is
    enough. The bound is therefore also valid if the conditional mean varies but never falls below
    the mean. K decreases in m, so bisection finds the bound.

    Args:
        values: the values in order of arrival; their number is fixed before they are read.
    """
    count = len(values)
    low, high = 0.0, math.fsum(values) / max(count, 1)
    if high <= 2.0**-BISECTION_STEPS:
        return 0.0
    x, counts = np.asarray(values, dtype=np.float64), np.arange(1, count + 1)
    means = np.cumsum([0.5, *x])[1:] / (counts + 1)
    earlier_squares = np.cumsum([0.25, *(x - means) ** 2])[:-1]
    stakes = np.sqrt(2.0 * math.log(1.0 / delta) * counts / (count * earlier_squares))
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        with np.errstate(over="ignore"):  # wealth that has reached the target may become infinite
            wealth = np.cumprod(1.0 + np.minimum(stakes, MAX_STAKE / middle) * (x - middle))
        if wealth.max() >= 1.0 / delta:
            low = middle
        else:
            high = middle
    return low
