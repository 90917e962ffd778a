"""Test shares with exact intervals."""

from __future__ import annotations

import pytest

from twin_assets.evaluation.statistics.rates import compute_rate, format_rate


def test_zero_of_forty_allows_a_share_of_nearly_nine_percent() -> None:
    result = compute_rate([False] * 40)

    assert (result.found, result.of, result.share, result.low) == (0, 40, 0.0, 0.0)
    assert result.high == pytest.approx(0.0881, abs=2e-4)  # 1 - .025^(1/40)


def test_the_interval_is_that_of_the_binomial_distribution() -> None:
    result = compute_rate([True] * 5 + [False] * 15)

    assert result.share == 0.25
    assert result.low == pytest.approx(0.0866, abs=1e-3)
    assert result.high == pytest.approx(0.4910, abs=1e-3)
    assert format_rate(result) == "5 of 20 (25.0 %; 95 %: 8.7 to 49.1)"


def test_a_rate_without_observations_covers_0_to_1() -> None:
    assert (compute_rate([]).low, compute_rate([]).high, format_rate(compute_rate([]))) == (
        0.0,
        1.0,
        "0 of 0",
    )
