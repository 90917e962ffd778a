"""Test intervals of means against scipy's bootstrap, by coverage and with resampled documents."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from twin_assets.evaluation.statistics.bootstrap import (
    Interval,
    interval_of_means,
    mean,
    paired_difference,
)


def drawn(count: int, seed: int, middle: float = 0.0) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(middle, 1.0) for _ in range(count)]


def test_the_interval_equals_scipys_for_many_observations() -> None:
    one, other = drawn(400, 1, 0.3), drawn(400, 2)

    found = paired_difference(one, other)
    theirs = stats.bootstrap(
        (np.array(one) - np.array(other),),
        np.mean,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(3),
    ).confidence_interval

    assert found.value == pytest.approx(np.mean(one) - np.mean(other))
    assert found.low == pytest.approx(theirs.low, abs=0.02)
    assert found.high == pytest.approx(theirs.high, abs=0.02)


def test_thirty_prompts_give_the_nominal_coverage() -> None:
    held = [found.low <= 0 <= found.high for found in (mean(drawn(30, n)) for n in range(100))]

    assert 0.90 <= sum(held) / len(held) <= 0.99


@pytest.mark.parametrize("documents", [2, 3, 5, 6])
def test_few_documents_keep_the_error_rate(documents: int) -> None:
    """By chance, both of two documents are above 0 one time in four."""
    found = [mean(drawn(documents, n)).low > 0 for n in range(1000)]

    assert sum(found) / len(found) <= 0.04


def test_common_variation_of_prompts_does_not_widen_a_paired_difference() -> None:
    hard = [10 * value for value in drawn(60, 1)]
    better = [value + 0.5 for value in hard]

    paired = paired_difference(better, hard)

    assert paired.low == pytest.approx(0.5)
    assert mean(better).high - mean(better).low > 3


def test_prompts_of_one_document_are_one_observation() -> None:
    """Ten prompts for each of six documents are not sixty observations."""
    values = [value for value in drawn(6, 4) for _ in range(10)]
    documents = [f"d{n // 10}" for n in range(60)]

    alone, together = mean(values), mean(values, groups=documents)

    assert together.value == alone.value
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_the_interval_of_one_document_is_unbounded() -> None:
    found = paired_difference([1.0, 1.0], [0.0, 0.0], groups=["d", "d"])

    assert found == Interval(1.0, -math.inf, math.inf)


def test_a_share_is_a_ratio_of_means() -> None:
    base, own, candidate = [0.0, 0.2, 0.1], [0.9, 0.8, 1.0], [0.5, 0.4, 0.6]

    found = interval_of_means([candidate, base, own], lambda m: (m[0] - m[1]) / (m[2] - m[1]))

    assert found.value == pytest.approx((0.5 - 0.1) / (0.9 - 0.1))
    assert found.low < found.value < found.high


def test_missing_values_and_unequal_columns_are_errors() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        mean([])
    with pytest.raises(ValueError, match=r"inhomogeneous|same length"):
        paired_difference([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="groups"):
        mean([1.0, 2.0], groups=["a"])


def test_an_interval_is_formatted_with_its_sign() -> None:
    assert Interval(0.39, 0.31, 0.47).describe() == "+0.39 (95 %: +0.31 to +0.47)"
