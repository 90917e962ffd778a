"""Time left: how far the estimate is off, over whole runs of recorded and made-up step times."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from twin_assets.evaluation.progress import ANSWER_S, read_s
from twin_resources.processes.time_left import (
    MIN_STEPS,
    RemainingTimeEstimator,
    estimate_step_seconds,
)

Times = Callable[[random.Random], list[float]]


def steady(chance: random.Random) -> list[float]:
    return [chance.uniform(4, 7) for _ in range(48)]


def slow_start(chance: random.Random) -> list[float]:
    """As a first training: its first step warms up for two minutes."""
    return [120.0, 15.0, *steady(chance)]


def bursts(chance: random.Random) -> list[float]:
    """Long and short samples by turns."""
    return [chance.choice((2.0, 2.5, 9.0, 11.0)) for _ in range(60)]


def pauses(chance: random.Random) -> list[float]:
    """A checkpoint of half a minute after every tenth step."""
    return [one + 30 * (number % 10 == 9) for number, one in enumerate(steady(chance))]


def one_pause(chance: random.Random) -> list[float]:
    times = steady(chance)
    times[16] += 60  # another program had the cores
    return times


def loaded_later(chance: random.Random) -> list[float]:
    """From its second half on everything takes two thirds longer."""
    times = steady(chance)
    return [*times[:24], *(1.66 * time for time in times[24:])]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("times", [steady, slow_start, bursts, pauses, one_pause, loaded_later])
def test_after_a_quarter_it_is_never_off_by_more_than_a_half(times: Times, seed: int) -> None:
    took = times(random.Random(seed))
    # to four fifths: which of the last few steps are the long ones nobody can know
    for done in range(len(took) // 4, 4 * len(took) // 5):
        each = estimate_step_seconds(took[:done])
        assert each is not None
        told, truth = each * (len(took) - done), sum(took[done:])
        assert 0.5 <= told / truth <= 1.5, (done, told, truth)


def test_the_first_step_of_a_training_is_no_sample_of_the_others() -> None:
    """What told 1:09:37 four minutes before 2:08: the time so far over the steps so far."""
    took = [143.0, 6.0, 5.5, 6.5]

    each = estimate_step_seconds(took)

    assert each == pytest.approx(6.0)
    assert sum(took) / len(took) > 40


def test_before_three_steps_nothing_is_told() -> None:
    assert MIN_STEPS == 3
    assert estimate_step_seconds([5.0, 5.0]) is None
    left = RemainingTimeEstimator()
    left.expect("answers", 10, each_s=1.0)
    left.record_steps("answers", 2, 2.0)
    assert left.estimate_seconds() is None
    left.record_steps("answers", 1, 1.0)
    assert left.estimate_seconds() == pytest.approx(7.0)


def test_the_gates_parts_are_told_within_a_half_after_their_first_quarter() -> None:
    """Reading, answering, reference: 60 steps of .25 s, 76 of .8 s, 8 of 1.5 s, on a machine that
    is 2.5 times as slow as was expected; another part of the answers is not needed."""
    parts = (("read", 60, 0.25, 0.3), ("answers", 76, 0.8, 0.9), ("reference", 8, 1.5, 1.0))
    chance, left = random.Random(3), RemainingTimeEstimator()
    for name, steps, _, expected in parts:
        left.expect(name, steps, each_s=expected)
    took = [
        (n, 2.5 * s * chance.uniform(0.6, 1.6)) for n, steps, s, _ in parts for _ in range(steps)
    ]
    for done, (name, seconds) in enumerate(took, start=1):
        left.record_steps(name, 1, seconds)
        truth = sum(one for _, one in took[done:])
        if 4 * done >= len(took) and truth > 60:
            told = left.estimate_seconds()
            assert told is not None
            assert 0.5 <= told / truth <= 1.5, (done, told, truth)
    assert left.estimate_seconds() == 0.0
    assert (left.done, left.steps) == (144, 144)


def test_slow_reading_does_not_make_the_answers_look_slow() -> None:
    """Without bf16 passages are read at a third of the speed, and servers answer as before: at one
    speed for both, "6:02 left" was told where 1:28 were."""
    for precision in ("bf16", "fp32"):
        left = RemainingTimeEstimator()
        left.expect("reading", 30, each_s=read_s(precision))
        left.expect("answers", 84, each_s=ANSWER_S)
        left.record_steps("reading", 30, 30 * read_s(precision))
        assert left.estimate_seconds() == pytest.approx(84 * ANSWER_S)
    assert read_s("fp32") > 2 * read_s("bf16")
