"""Seconds in a queue by formula against a queue that is played, customer by customer."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from twin_resources.gateway.queueing import (
    FEWEST,
    MONTH_S,
    load_points,
    p95_seconds,
)


def played(service: np.ndarray, utilisation: float, *, count: int = 60_000) -> float:
    """The 95th percentile of answers that wait for each other (Lindley's recursion)."""
    random = np.random.default_rng(1)
    took = random.choice(service, count)
    between = random.exponential(service.mean() / utilisation, count)
    waits = np.empty(count)
    waiting = 0.0
    for number in range(count):
        waits[number] = waiting
        waiting = max(0.0, waiting + took[number] - between[number])
    return float(np.quantile((waits + took)[count // 10 :], 0.95))


@pytest.mark.parametrize("utilisation", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("spread", [0.3, 0.7])
def test_the_formula_agrees_with_a_played_queue(utilisation: float, spread: float) -> None:
    # answers as a model gives them: most take 2 s, some several times that
    service = 2.0 * np.exp(spread * np.random.default_rng(0).standard_normal(1_000))
    assert p95_seconds(service, utilisation) == pytest.approx(
        played(service, utilisation), rel=0.15
    )


def test_exponential_services_give_the_exact_percentile() -> None:
    service = np.random.default_rng(0).exponential(1.0, 200_000)
    # M/M/1: the time in the system is exponential with rate μ − λ
    assert p95_seconds(service, 0.6) == pytest.approx(math.log(20) / 0.4, rel=0.02)


def test_an_idle_machine_is_as_slow_as_its_answers_and_a_full_one_never_done() -> None:
    service = np.arange(1.0, 101.0)
    assert p95_seconds(service, 0.0) == pytest.approx(np.quantile(service, 0.95))
    assert p95_seconds(service, 1.0) == math.inf


def test_points_rise_and_the_measured_one_is_named() -> None:
    points = load_points([2.0] * FEWEST, tokens_per_second=100.0, utilisation=0.42)
    assert [point.utilisation for point in points] == [0.3, 0.42, 0.5, 0.7, 0.8, 0.9]
    assert [point.is_measured for point in points].index(True) == 1
    assert points[1].tokens_per_month == pytest.approx(0.42 * 100.0 * MONTH_S)
    assert all(now.p95_s < then.p95_s for now, then in pairwise(points))


def test_too_little_tells_nothing() -> None:
    assert load_points([2.0] * (FEWEST - 1), tokens_per_second=1.0, utilisation=0.1) == ()
    assert load_points([2.0] * FEWEST, tokens_per_second=0.0, utilisation=0.1) == ()
    # answers that overlap count twice: at 1 and above no queue ends, and no point is named for it
    full = load_points([2.0] * FEWEST, tokens_per_second=1.0, utilisation=1.0)
    assert not any(point.is_measured for point in full)
