"""Compute shares of answers with some property, and intervals of the true shares.

Scope: counting, the exact interval, and its format. Out of scope: the property (`measures/`) and
intervals of means (`bootstrap.py`).

The interval is Clopper and Pearson's (Biometrika 26, 1934), not a bootstrap. If 0 of 40 answers
have the property, resampling gives the interval 0 to 0, but the true share may be 8.8 %.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twin_resources.statistics.bounds import clopper_pearson_lower

TAIL_PROBABILITY = 0.025  # on either side of a 95 % interval


@dataclass(frozen=True)
class Rate:
    """A share with its interval.

    Attributes:
        found, of: number found, and total number.
        share, low, high: found / of, and the 95 % interval of the true share; 0, 0 and 1 if `of`
            is 0.
    """

    found: int
    of: int
    share: float
    low: float
    high: float


def compute_rate(flags: Sequence[bool]) -> Rate:
    """Return the share of true flags."""
    hit_count, count = sum(flags), len(flags)
    if not count:
        return Rate(0, 0, 0.0, 0.0, 1.0)
    return Rate(
        found=hit_count,
        of=count,
        share=hit_count / count,
        low=clopper_pearson_lower(hit_count, count, delta=TAIL_PROBABILITY),
        high=1.0 - clopper_pearson_lower(count - hit_count, count, delta=TAIL_PROBABILITY),
    )


def format_rate(rate: Rate) -> str:
    """Format a rate as `2 of 40 (5.0 %; 95 %: 0.6 to 16.9)`."""
    if not rate.of:
        return "0 of 0"
    percent = [100 * value for value in (rate.share, rate.low, rate.high)]
    return (
        f"{rate.found} of {rate.of} ({percent[0]:.1f} %; "
        f"95 %: {percent[1]:.1f} to {percent[2]:.1f})"
    )
