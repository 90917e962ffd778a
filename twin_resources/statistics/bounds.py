"""Compute lower confidence bounds for the mean of a fixed number of values in [0, 1].

Scope: the Clopper–Pearson bound for binary values, the betting bound for all others, and the error
for values out of range.
Out of scope: the choice of the values (`judges.py`).
Sources: Clopper and Pearson, Biometrika 26 (1934); Waudby-Smith and Ramdas (2024), section 4,
https://arxiv.org/abs/2010.09686.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
    if count == 0:
        return 0.0
    log_inverse_delta = math.log(1.0 / delta)
    stakes: list[float] = []
    weighted_sum, square_sum = 0.5, 0.25
    for count_so_far, value in enumerate(values, start=1):
        stakes.append(math.sqrt(2.0 * log_inverse_delta * count_so_far / (count * square_sum)))
        weighted_sum += value
        residual = value - weighted_sum / (count_so_far + 1)
        square_sum += residual * residual
    target = 1.0 / delta
    low, high = 0.0, math.fsum(values) / count
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        if _has_wealth_reached(target, values, stakes, middle):
            low = middle
        else:
            high = middle
    return low


def _has_wealth_reached(
    target: float, values: Sequence[float], stakes: Sequence[float], mean: float
) -> bool:
    max_stake = MAX_STAKE / mean if mean > 0.0 else math.inf
    wealth = 1.0
    for value, stake in zip(values, stakes, strict=True):
        wealth *= 1.0 + (stake if stake < max_stake else max_stake) * (value - mean)
        if wealth >= target:
            return True
    return False
