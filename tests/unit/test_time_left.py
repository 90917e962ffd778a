"""Test the error of the estimated time left over whole runs with typical step times."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from twin_assets.evaluation.progress import ANSWER_S, expected_read_s
from twin_resources.processes import time_left
from twin_resources.processes.time_left import (
    MIN_STEPS,
    RemainingTimeEstimator,
    estimate_range,
    estimate_step_seconds,
)
from twin_resources.processes.wording import format_time_left

Profile = Callable[[random.Random], list[float]]


def steady(rng: random.Random) -> list[float]:
    return [rng.uniform(4, 7) for _ in range(48)]


def slow_start(rng: random.Random) -> list[float]:
    """Return durations like those of a first training, whose first step includes a warm-up."""
    return [120.0, 15.0, *steady(rng)]


def bursts(rng: random.Random) -> list[float]:
    """Return long and short durations in random order."""
    return [rng.choice((2.0, 2.5, 9.0, 11.0)) for _ in range(60)]


def pauses(rng: random.Random) -> list[float]:
    """Return durations with a checkpoint of half a minute after every tenth step."""
    return [seconds + 30 * (number % 10 == 9) for number, seconds in enumerate(steady(rng))]


def groups(rng: random.Random) -> list[float]:
    """Return durations of requests that run three at a time and end together."""
    return [rng.uniform(0.01, 0.4) if number % 3 else rng.uniform(7, 10) for number in range(80)]


def one_pause(rng: random.Random) -> list[float]:
    durations = steady(rng)
    durations[16] += 60  # another program used the cores
    return durations


def slowdown(rng: random.Random) -> list[float]:
    """Return durations that are two thirds longer in the second half."""
    durations = steady(rng)
    return [*durations[:24], *(1.66 * seconds for seconds in durations[24:])]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "profile", [steady, slow_start, bursts, groups, pauses, one_pause, slowdown]
)
def test_after_a_quarter_of_steps_the_error_is_at_most_half(profile: Profile, seed: int) -> None:
    durations = profile(random.Random(seed))
    # Up to four fifths: nothing predicts which of the last few steps are long.
    for done in range(len(durations) // 4, 4 * len(durations) // 5):
        step_s = estimate_step_seconds(durations[:done])
        assert step_s is not None
        estimate, actual = step_s * (len(durations) - done), sum(durations[done:])
        assert 0.5 <= estimate / actual <= 1.5, (done, estimate, actual)


def test_the_first_step_does_not_count_in_the_estimate() -> None:
    """The mean over all steps once estimated 1:09:37; four minutes later the estimate was 2:08."""
    durations = [143.0, 6.0, 5.5, 6.5]

    step_s = estimate_step_seconds(durations)

    assert step_s == pytest.approx(6.0)
    assert sum(durations) / len(durations) > 40


def test_there_is_no_estimate_before_three_steps() -> None:
    assert MIN_STEPS == 3
    assert estimate_step_seconds([5.0, 5.0]) is None
    estimator = RemainingTimeEstimator()
    estimator.expect("answers", 10, step_s=1.0)
    estimator.record_steps("answers", 2, 2.0)
    assert estimator.estimate_seconds() is None
    estimator.record_steps("answers", 1, 1.0)
    assert estimator.estimate_seconds() == pytest.approx(7.0)


def test_after_a_quarter_of_a_gate_the_error_is_at_most_half() -> None:
    """The machine is 2.5 times slower than expected.

    The gate has 60 reading steps of 0.25 s, 76 answers of 0.8 s and 8 reference steps of 1.5 s.
    """
    parts = (("read", 60, 0.25, 0.3), ("answers", 76, 0.8, 0.9), ("reference", 8, 1.5, 1.0))
    rng, estimator = random.Random(3), RemainingTimeEstimator()
    for name, steps, _, expected in parts:
        estimator.expect(name, steps, step_s=expected)
    durations = [
        (name, 2.5 * step_s * rng.uniform(0.6, 1.6))
        for name, steps, step_s, _ in parts
        for _ in range(steps)
    ]
    for done, (name, seconds) in enumerate(durations, start=1):
        estimator.record_steps(name, 1, seconds)
        actual = sum(step_s for _, step_s in durations[done:])
        if 4 * done >= len(durations) and actual > 60:
            estimate = estimator.estimate_seconds()
            assert estimate is not None
            assert 0.5 <= estimate / actual <= 1.5, (done, estimate, actual)
    assert estimator.estimate_seconds() == 0.0
    assert (estimator.completed_count, estimator.total_count) == (144, 144)


def test_slow_reading_does_not_raise_the_estimate_of_answers() -> None:
    """Without bf16, reading is three times slower but answering is not. A shared speed once
    reported "6:02 left" when 1:28 was left.
    """
    for precision in ("bf16", "fp32"):
        estimator = RemainingTimeEstimator()
        estimator.expect("reading", 30, step_s=expected_read_s(precision))
        estimator.expect("answers", 84, step_s=ANSWER_S)
        estimator.record_steps("reading", 30, 30 * expected_read_s(precision))
        assert estimator.estimate_seconds() == pytest.approx(84 * ANSWER_S)
    assert expected_read_s("fp32") > 2 * expected_read_s("bf16")


@pytest.mark.parametrize(
    ("load", "estimate_s", "actual_s"),
    [
        # forecasts of a training and its gate on two cores, and what came, 2026-11-30; the last two
        # while several other processes ended
        (2.0, 242, 218),
        (2.0, 124, 157),
        (2.0, 111, 76),
        (8.0, 333, 202),
        (8.0, 379, 141),
    ],
)
def test_the_range_holds_measured_times_on_quiet_and_on_busy_cores(
    monkeypatch: pytest.MonkeyPatch, load: float, estimate_s: float, actual_s: float
) -> None:
    monkeypatch.setattr(time_left.os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(time_left.os, "cpu_count", lambda: 2)
    shortest_s, longest_s = estimate_range(estimate_s)
    assert shortest_s <= actual_s <= longest_s
    assert longest_s < 1.6 * estimate_s


@pytest.mark.parametrize(
    ("shortest_s", "longest_s", "text"),
    [
        (-20, -3, "under 1 minute left"),
        (10, 59, "under 1 minute left"),
        (40, 100, "up to 2 minutes left"),
        (185, 390, "3 to 7 minutes left"),
        (3500, 7000, "0.5 to 2 hours left"),
    ],
)
def test_the_time_left_is_a_range_in_words(shortest_s: float, longest_s: float, text: str) -> None:
    assert format_time_left(shortest_s, longest_s) == text
