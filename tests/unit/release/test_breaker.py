"""Test which canaries the breaker stops, how soon it stops them, and how often it is wrong."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.gateway.hooks.breaker import (
    CAUSES,
    DEFAULT_SLOW_S,
    MAX_WINDOW_ANSWERS,
    MIN_SLOW_S,
    TOLERATED_UNSAFE,
    WINDOW_S,
    Breaker,
    Cause,
    StableAnswer,
    StableWindow,
    tolerated_share,
)


def stable_window(*seconds: float, unsafe: bool = False) -> StableWindow:
    window = StableWindow()
    for number, answer_s in enumerate(seconds):
        window = window.with_answer(StableAnswer(float(number), answer_s, unsafe))
    return window


FAST_WINDOW = stable_window(*[0.4] * 40)


def count_until_stopped(
    cause: Cause, probability: float, *, max_requests: int, seed: int = 1
) -> int | None:
    """Return the number of requests until the canary is stopped, or None."""
    rng = random.Random(seed)
    breaker = Breaker()
    for number in range(1, max_requests + 1):
        breaker = breaker.with_outcome(cause, rng.random() < probability, stable=FAST_WINDOW)
        if breaker.tripped_cause:
            return number
    return None


@pytest.mark.parametrize(("cause", "count"), [("errors", 5), ("latency", 6), ("safety", 6)])
def test_a_canary_that_always_fails_is_stopped_within_six_requests(
    cause: Cause, count: int
) -> None:
    assert count_until_stopped(cause, 1.0, max_requests=50) == count


def test_a_canary_that_fails_half_its_requests_is_stopped_early() -> None:
    counts = sorted(
        count_until_stopped("errors", 0.5, max_requests=200, seed=seed) or 999 for seed in range(50)
    )
    assert counts[25] <= 15
    assert counts[-1] <= 60


@pytest.mark.parametrize("cause", CAUSES)
def test_tolerated_rates_stop_no_canary(cause: Cause) -> None:
    """At the limit, the breaker may stop 0.1 % of canaries.

    The test runs 40 canaries of 1,000 requests each.
    """
    limit = tolerated_share(cause, FAST_WINDOW)
    stop_counts = [
        count_until_stopped(cause, limit, max_requests=1_000, seed=seed) for seed in range(40)
    ]
    assert stop_counts == [None] * 40


def test_a_late_failure_is_detected_as_fast_as_an_early_one() -> None:
    breaker = Breaker()
    for _ in range(3_000):
        breaker = breaker.with_outcome("errors", is_bad=False, stable=FAST_WINDOW)
    for _ in range(5):
        breaker = breaker.with_outcome("errors", is_bad=True, stable=FAST_WINDOW)
    assert breaker.tripped_cause == "errors"
    assert "5 of its 3005 requests" in breaker.reason


def test_the_reason_has_the_numbers_and_is_kept() -> None:
    breaker = Breaker()
    for _ in range(7):
        breaker = breaker.with_outcome("latency", is_bad=True, stable=FAST_WINDOW)
    assert breaker.tripped_cause == "latency"
    assert "6 of its 6 requests took longer than 2 s, tolerated 5%" in breaker.reason
    assert breaker.with_outcome("errors", is_bad=True, stable=FAST_WINDOW) is breaker


def test_the_slow_threshold_depends_on_the_stable_version() -> None:
    assert stable_window(*[0.4] * 19).slow_threshold_s() == DEFAULT_SLOW_S
    assert stable_window(*[0.4] * 20).slow_threshold_s() == MIN_SLOW_S
    assert stable_window(*[2.0] * 38, 9.0, 9.0).slow_threshold_s() == 6.0


def test_the_window_drops_old_answers() -> None:
    window = stable_window(*[1.0] * 300)
    assert len(window.answers) == MAX_WINDOW_ANSWERS
    later_window = window.with_answer(StableAnswer(299 + WINDOW_S + 1, 1.0))
    assert len(later_window.answers) == 1


def test_findings_that_the_stable_version_shares_are_tolerated() -> None:
    safe_window, unsafe_window = stable_window(*[1.0] * 50), stable_window(*[1.0] * 50, unsafe=True)
    assert tolerated_share("safety", safe_window) == TOLERATED_UNSAFE
    assert tolerated_share("safety", unsafe_window) == 0.99
    breaker = Breaker()
    for _ in range(100):
        breaker = breaker.with_outcome("safety", is_bad=True, stable=unsafe_window)
    assert breaker.tripped_cause is None


@given(st.lists(st.tuples(st.sampled_from(CAUSES), st.booleans()), max_size=60))
def test_wealth_is_never_negative_and_counts_add_up(values: list[tuple[Cause, bool]]) -> None:
    breaker = Breaker()
    expected_count = 0
    for cause, is_failure in values:
        expected_count += breaker.tripped_cause is None
        breaker = breaker.with_outcome(cause, is_failure, stable=FAST_WINDOW)
    assert all(value >= 0.0 for wealth in breaker.wealth.values() for value in wealth)
    assert sum(breaker.counts.values()) == expected_count
    assert (breaker.tripped_cause is None) == (not breaker.reason)
