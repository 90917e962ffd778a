"""Which samples the held-out curve is made of, and after which steps: pure choices."""

from __future__ import annotations

import pytest

from twin_assets.checkpoints.samples import TokenizedSample
from twin_assets.training.held_out_curve import (
    FORWARD,
    POINTS,
    SHARE_OF_WORK,
    measured_after,
    watched,
)


def sample(number: int, *, tokens: int = 500) -> TokenizedSample:
    return TokenizedSample(f"s{number}", f"d{number}", tuple(range(tokens)), tokens // 2, tokens)


def test_points_stand_before_the_first_step_after_the_last_and_between() -> None:
    assert sorted(measured_after(30)) == [0, 10, 20, 30]
    assert measured_after(1) == {0, 1}


@pytest.mark.parametrize("training_tokens", [100_000, 400_000])
def test_measuring_costs_at_most_its_share_of_the_training(training_tokens: int) -> None:
    chosen = watched([sample(number) for number in range(100)], training_tokens=training_tokens)
    assert len(chosen) >= 4
    work = POINTS * FORWARD * sum(each.length for each in chosen)
    assert work <= SHARE_OF_WORK * training_tokens
    assert [each.sample_id for each in chosen] == [f"s{n}" for n in range(len(chosen))]


def test_a_training_that_is_too_short_has_no_curve() -> None:
    assert watched([sample(number) for number in range(5)], training_tokens=2_000) == []
