"""Lower confidence bounds for the mean of values in [0, 1], from a number fixed beforehand.

Belongs here: Clopper–Pearson for binary values, the betting bound for all others, a bound for
values that come in clusters (days, readers).
Does not belong here: which values they are taken of (`baseline.py`, `judges.py`).
Sources: Clopper and Pearson, Biometrika 26 (1934); Waudby-Smith and Ramdas (2024), section 4,
https://arxiv.org/abs/2010.09686; Liang and Zeger, Biometrika 73 (1986).
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

from twin_resources.statistics.values import ImpossibleValue

# Stakes are cut at .75/m, as in the source, so that no single value ruins the bettor.
LARGEST_STAKE = 0.75
STEPS = 40  # of bisection: the bound is within 2^-40, on the low side


def clopper_pearson_lower(ones: int, of: int, *, delta: float) -> float:
    """Lower bound of a probability at confidence 1 − delta; 0 for no ones.

    The p at which `ones` or more of `of` have probability delta: P(Bin(of, p) ≥ ones) =
    I_p(ones, of − ones + 1), increasing in p.
    """
    if not 0 <= ones <= of or of < 1:
        raise ImpossibleValue(
            "bound a probability",
            found=f"{ones} of {of}",
            next_step="count at least one value, and no more ones than values",
        )
    from scipy.special import betaincinv  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    quantile: Any = betaincinv
    return float(quantile(ones, of - ones + 1, delta)) if ones else 0.0


def betting_lower(values: Sequence[float], *, delta: float) -> float:
    """Lower bound of the mean of values in [0, 1] at confidence 1 − delta, for any distribution.

    Against each m a gambler stakes λ_i = min(√(2·log(1/δ) / (n·σ²_{i−1})), .75/m) on "the mean is
    larger": K_i(m) = Π(1 + λ_i·(x_i − m)), σ²_{i−1} from the values before. The bound is the
    smallest m whose wealth never reached 1/δ; by Ville's inequality the true mean is among the
    others with probability at most δ. It needs no independence: E[x_i | past] ≥ or = the mean is
    enough, so that it also holds for a mean that wanders but never below. K falls in m, hence
    bisection.

    Args:
        values: in the order of arrival; the number fixed before looking.
    """
    count = len(values)
    if count == 0:
        return 0.0
    budget = math.log(1.0 / delta)
    stakes: list[float] = []
    total, squares = 0.5, 0.25
    for seen, value in enumerate(values, start=1):
        stakes.append(math.sqrt(2.0 * budget * seen / (count * squares)))
        total += value
        centred = value - total / (seen + 1)
        squares += centred * centred
    enough = 1.0 / delta
    low, high = 0.0, math.fsum(values) / count
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _wealth_reaches(enough, values, stakes, middle):
            low = middle
        else:
            high = middle
    return low


def _wealth_reaches(
    enough: float, values: Sequence[float], stakes: Sequence[float], mean: float
) -> bool:
    largest = LARGEST_STAKE / mean if mean > 0.0 else math.inf
    wealth = 1.0
    for value, stake in zip(values, stakes, strict=True):
        wealth *= 1.0 + (stake if stake < largest else largest) * (value - mean)
        if wealth >= enough:
            return True
    return False


def lower_bound(values: Sequence[float], *, delta: float) -> float:
    """Clopper–Pearson when every value is 0 or 1, the betting bound otherwise.

    Both hold at delta. Which one is used depends on the values; for a stream that is binary, or
    never is, that costs nothing; where 1 value in n is neither 0 nor 1 the two could add up to
    2·delta at the very worst.
    """
    if values and all(value in {0.0, 1.0} for value in values):
        return clopper_pearson_lower(round(sum(values)), len(values), delta=delta)
    return betting_lower(values, delta=delta)


def clustered_lower(
    values: Sequence[float], clusters: Sequence[Hashable], *, delta: float
) -> float:
    """Lower bound of the mean at confidence 1 − delta where values of a cluster go together.

    x̄ − t·√(G/(G−1)·Σ_g(Σ_{i∈g}(x_i − x̄))²)/n with t of G − 1 degrees of freedom, at least 0. It
    holds as the number G of clusters grows; with few of them t makes it wide. 0 for one cluster:
    of a single day, or a single reader, nothing is known of others.

    Args:
        clusters: of each value; the same for values that may depend on each other.
    """
    count = len(values)
    mean = math.fsum(values) / count if count else 0.0
    sums: dict[Hashable, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + (value - mean)
    groups = len(sums)
    if groups < 2:
        return 0.0
    squares = math.fsum(one * one for one in sums.values())
    spread = math.sqrt(groups / (groups - 1) * squares)
    return max(0.0, mean - student_quantile(groups - 1, delta) * spread / count)


def student_quantile(degrees: int, beyond: float) -> float:
    """The t that Student's distribution exceeds with probability `beyond` in (0, ½)."""
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    quantile: Any = stdtrit
    return -float(quantile(degrees, beyond))
