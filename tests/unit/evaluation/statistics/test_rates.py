"""Shares with exact intervals."""

from __future__ import annotations

import pytest

from twin_assets.evaluation.statistics.rates import format_rate, rate


def test_zero_of_forty_allows_a_share_of_nearly_nine_percent() -> None:
    found = rate([False] * 40)

    assert (found.found, found.of, found.share, found.low) == (0, 40, 0.0, 0.0)
    assert found.high == pytest.approx(0.0881, abs=2e-4)  # 1 - .025^(1/40)


def test_the_interval_is_that_of_the_binomial_distribution() -> None:
    found = rate([True] * 5 + [False] * 15)

    assert found.share == 0.25
    assert found.low == pytest.approx(0.0866, abs=1e-3)
    assert found.high == pytest.approx(0.4910, abs=1e-3)
    assert format_rate(found) == "5 of 20 (25.0 %; 95 %: 8.7 to 49.1)"


def test_a_rate_of_nothing_covers_0_to_1() -> None:
    assert (rate([]).low, rate([]).high, format_rate(rate([]))) == (0.0, 1.0, "0 of 0")
