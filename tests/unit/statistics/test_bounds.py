"""Test confidence bounds against scipy, and their coverage."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from twin_resources.statistics.bounds import (
    OutOfRangeError,
    betting_lower_bound,
    clopper_pearson_lower,
)

unit_interval = st.floats(0.0, 1.0, allow_nan=False)


def test_the_bound_without_ones_is_zero() -> None:
    assert clopper_pearson_lower(0, 500, delta=0.05) == 0.0


@pytest.mark.parametrize(("ones", "total"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_errors(ones: int, total: int) -> None:
    with pytest.raises(OutOfRangeError, match="bound a probability"):
        clopper_pearson_lower(ones, total, delta=0.05)


@given(st.integers(1, 2000), st.data(), st.floats(1e-4, 0.5))
@settings(max_examples=40, deadline=None)
def test_clopper_pearson_is_a_quantile_of_the_beta_distribution(
    total: int, data: st.DataObject, delta: float
) -> None:
    ones = data.draw(st.integers(1, total))
    expected = stats.beta.ppf(delta, ones, total - ones + 1)
    assert clopper_pearson_lower(ones, total, delta=delta) == pytest.approx(expected, abs=1e-9)


@given(st.lists(unit_interval, min_size=1, max_size=60), st.floats(0.001, 0.4))
@example([5e-324], 0.25)  # half of the smallest number is 0, and the bound divided by it
@settings(max_examples=40, deadline=None)
def test_a_lower_bound_is_below_the_mean_and_falls_with_confidence(
    values: list[float], delta: float
) -> None:
    bound = betting_lower_bound(values, delta=delta)
    assert 0.0 <= bound <= sum(values) / len(values) + 1e-12
    assert betting_lower_bound(values, delta=delta / 10) <= bound + 1e-9


@given(st.lists(unit_interval, min_size=5, max_size=40))
@settings(max_examples=40, deadline=None)
def test_a_larger_last_value_never_lowers_the_betting_bound(values: list[float]) -> None:
    larger = [*values[:-1], 1.0]
    assert betting_lower_bound(larger, delta=0.05) >= betting_lower_bound(values, delta=0.05) - 1e-9


def test_the_bound_without_values_is_zero() -> None:
    assert betting_lower_bound([], delta=0.05) == 0.0


def test_the_bound_of_constant_values_is_close() -> None:
    assert 0.75 < betting_lower_bound([0.8] * 500, delta=0.05) < 0.8


def test_bounds_exceed_the_mean_at_most_as_often_as_delta_allows() -> None:
    """At δ = .2, at most a fifth of 300 bounds are above the mean; 29 % is four deviations more."""
    rng = random.Random(1)
    samples = [[rng.betavariate(4, 1) for _ in range(60)] for _ in range(300)]
    error_count = sum(betting_lower_bound(sample, delta=0.2) > 0.8 for sample in samples)
    assert error_count <= 60
    counts = [sum(rng.random() < 0.8 for _ in range(60)) for _ in range(300)]
    error_count = sum(clopper_pearson_lower(count, 60, delta=0.2) > 0.8 for count in counts)
    assert error_count <= 87
    # Clopper–Pearson is exact: at n = 60, p = .8 its error must be close to δ.
    assert error_count >= 15
