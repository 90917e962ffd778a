"""Compute bootstrap intervals of figures measured on the same prompts.

Scope: resampling whole documents, intervals of means and of functions of means.
Out of scope: the measured quantities (`measures/`) and thresholds.

Answers to two passages of one post are not independent observations, so documents are resampled.
All columns of a prompt (candidate, base, author) are drawn together, so the bootstrap is paired.
With few observations, the plain percentile interval of a mean is too narrow for two reasons: it is
short by a factor of √((n−1)/n), and it uses a normal instead of a t quantile. Its level is widened
to correct both (the "expanded percentile" of Hesterberg, "What Teachers Should Know about the
Bootstrap", 2015, https://arxiv.org/abs/1411.5279, section 4). No resample is below the lowest
document, so with three documents and no effect, the lower end is above 0 one time in eight. With
fewer than `MIN_PERCENTILE_OBSERVATIONS` documents, the interval is therefore Student's t interval
with the standard deviation of the resamples.
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

RESAMPLES = 2000
LEVEL = 0.95
SEED = 20
# Without an effect, five of five documents are above 0 in 3.1 % of cases, and six of six in 1.6 %.
MIN_PERCENTILE_OBSERVATIONS = 6


@dataclass(frozen=True)
class Interval:
    """A figure with its interval, at 95 % unless stated otherwise."""

    value: float
    low: float
    high: float

    def describe(self, digits: int = 2) -> str:
        """Format the interval as `+0.39 (95 %: +0.31 to +0.47)`."""
        value, low, high = (f"{number:+.{digits}f}" for number in (self.value, self.low, self.high))
        return f"{value} (95 %: {low} to {high})"

    def describe_change(self, level: float = LEVEL) -> str:
        """Format the interval of a ratio as a change: `-31.4 % (95 %: -33.0 to -29.7)`."""
        value, low, high = (100 * (ratio - 1) for ratio in (self.value, self.low, self.high))
        return f"{value:+.1f} % ({100 * level:.0f} %: {low:+.1f} to {high:+.1f})"


def format_change(ratio: float) -> str:
    """Format a ratio as a change, such as `-31.4 %`."""
    return f"{100 * (ratio - 1):+.1f} %"


def mean_interval(values: Sequence[float], *, groups: Sequence[Hashable] | None = None) -> Interval:
    """Return the mean of values with its interval.

    Args:
        groups: group of each value; groups are resampled as a whole. None to resample single
            values.

    Raises:
        ValueError: there are no values.
    """
    return interval_of_means([values], lambda means: means[0], groups=groups)


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
) -> Interval:
    """Return the mean of `first` − the mean of `second`, on the same prompts in the same order."""
    return interval_of_means([first, second], lambda means: means[0] - means[1], groups=groups)


def interval_of_means(
    columns: Sequence[Sequence[float]],
    function: Callable[[Any], Any],
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = LEVEL,
) -> Interval:
    """Return a function of the means of columns measured on the same prompts, with its interval.

    Args:
        columns: k columns of n values each.
        function: function from an array of shape (k, resamples) to one of shape (resamples,).
        groups: n groups, as in `mean_interval`.
        level: level of the interval.

    Raises:
        ValueError: there are no values, or the columns differ in length.
    """
    import numpy as np

    values = np.array([list(column) for column in columns], dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError("an interval needs columns of the same length with at least one value")
    weights, group_count = resample_weights(values.shape[1], groups=groups)
    means = (values @ weights.T) / weights.sum(axis=1)
    value = float(np.asarray(function(values.mean(axis=1, keepdims=True)))[0])
    return bootstrap_interval(value, function(means), observations=group_count, level=level)


def resample_weights(
    count: int,
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = SEED,
) -> tuple[Any, int]:
    """Return the number of times that each resample draws each value, and the number of groups.

    Args:
        seed: seed of the draws; independent sets of values need different seeds.

    Returns:
        An array of whole numbers of shape (`RESAMPLES`, count), and the number of groups. The
        result is the same for the same arguments.

    Raises:
        ValueError: there are not `count` groups.
    """
    import numpy as np

    value_groups = list(range(count)) if groups is None else list(groups)
    if len(value_groups) != count:
        raise ValueError(f"{count} values but {len(value_groups)} groups")
    index_by_group = {group: index for index, group in enumerate(dict.fromkeys(value_groups))}
    group_count = len(index_by_group)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(group_count, [1.0 / group_count] * group_count, size=RESAMPLES)
    columns = [index_by_group[group] for group in value_groups]
    return draws[:, columns].astype(np.float64), group_count


def bootstrap_interval(
    value: float, resamples: Any, *, observations: int, level: float = LEVEL
) -> Interval:
    """Return the interval of a figure from its resampled values.

    It uses expanded percentiles or, with few observations, Student's t. Above `LEVEL` it always
    uses Student's t, because the 1-in-1,000 quantile of 2,000 resamples is the second value and
    very uncertain.

    Args:
        observations: number of independent observations; a single observation shows no spread, so
            its interval is unbounded.
    """
    import numpy as np
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    if observations < 2:
        return Interval(value, -math.inf, math.inf)
    quantile: Any = stdtrit
    t_quantile = float(quantile(observations - 1, (1 + level) / 2))
    widened_quantile = t_quantile * math.sqrt(observations / (observations - 1))
    values = np.asarray(resamples, dtype=np.float64)
    if observations < MIN_PERCENTILE_OBSERVATIONS or level > LEVEL:
        margin = widened_quantile * float(values.std())
        return Interval(value, value - margin, value + margin)
    tail = NormalDist().cdf(-widened_quantile)
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
