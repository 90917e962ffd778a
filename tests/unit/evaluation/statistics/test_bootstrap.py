"""Test intervals of means: their agreement with scipy, their coverage, resampled documents."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from twin_assets.evaluation.statistics.bootstrap import (
    Interval,
    interval_of_means,
    mean_interval,
    paired_difference,
)


def draw_values(count: int, seed: int, mean: float = 0.0) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(mean, 1.0) for _ in range(count)]


def test_the_interval_equals_scipys_for_many_observations() -> None:
    first, second = draw_values(400, 1, 0.3), draw_values(400, 2)

    interval = paired_difference(first, second)
    expected = stats.bootstrap(
        (np.array(first) - np.array(second),),
        np.mean,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(3),
    ).confidence_interval

    assert interval.value == pytest.approx(np.mean(first) - np.mean(second))
    assert interval.low == pytest.approx(expected.low, abs=0.02)
    assert interval.high == pytest.approx(expected.high, abs=0.02)


def test_thirty_prompts_give_the_nominal_coverage() -> None:
    intervals = [mean_interval(draw_values(30, n)) for n in range(100)]

    assert 0.90 <= sum(interval.low <= 0 <= interval.high for interval in intervals) / 100 <= 0.99


@pytest.mark.long
@pytest.mark.parametrize("document_count", [2, 3, 5, 6])
def test_few_documents_keep_the_error_rate(document_count: int) -> None:
    """Two documents are both above 0 by chance in a quarter of the draws."""
    errors = [mean_interval(draw_values(document_count, n)).low > 0 for n in range(1000)]

    assert sum(errors) / len(errors) <= 0.04


def test_common_variation_of_prompts_does_not_widen_a_paired_difference() -> None:
    first = [10 * value for value in draw_values(60, 1)]
    second = [value + 0.5 for value in first]

    paired = paired_difference(second, first)

    assert paired.low == pytest.approx(0.5)
    assert mean_interval(second).high - mean_interval(second).low > 3


def test_prompts_of_one_document_are_one_observation() -> None:
    """Ten prompts for each of six documents are not sixty observations."""
    values = [value for value in draw_values(6, 4) for _ in range(10)]
    documents = [f"d{n // 10}" for n in range(60)]

    ungrouped, grouped = mean_interval(values), mean_interval(values, groups=documents)

    assert grouped.value == ungrouped.value
    assert grouped.high - grouped.low > 2 * (ungrouped.high - ungrouped.low)


def test_the_interval_of_one_document_is_unbounded() -> None:
    interval = paired_difference([1.0, 1.0], [0.0, 0.0], groups=["d", "d"])

    assert interval == Interval(1.0, -math.inf, math.inf)


def test_a_share_is_a_ratio_of_means() -> None:
    base, own, candidate = [0.0, 0.2, 0.1], [0.9, 0.8, 1.0], [0.5, 0.4, 0.6]

    share = interval_of_means([candidate, base, own], lambda m: (m[0] - m[1]) / (m[2] - m[1]))

    assert share.value == pytest.approx((0.5 - 0.1) / (0.9 - 0.1))
    assert share.low < share.value < share.high


def test_missing_values_and_unequal_columns_are_errors() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([])
    with pytest.raises(ValueError, match=r"inhomogeneous|same length"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="groups"):
        mean_interval([1.0, 2.0], groups=["a"])


def test_an_interval_is_formatted_with_its_sign() -> None:
    assert Interval(0.39, 0.31, 0.47).describe() == "+0.39 (95 %: +0.31 to +0.47)"
