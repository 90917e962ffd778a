"""Values from answers by lot: right on average, with intervals that hold the true value."""

from __future__ import annotations

import numpy as np
import pytest

from twin_resources.errors import TwinError
from twin_resources.router.off_policy import doubly_robust, predicted_rewards, snips

TRUE_OWN, TRUE_PAID = 0.5, 0.7


def _answers(seed: int, count: int = 2000, explored: float = 0.1):
    """Answers of a policy that keeps the own model, but for the lot; readers differ by .1."""
    random = np.random.default_rng(seed)
    reader = random.integers(0, 100, count)
    level = 0.1 * random.standard_normal(100)[reader]
    paid = random.random(count) < explored
    mean = np.where(paid, TRUE_PAID, TRUE_OWN) + level
    rewards = np.clip(mean + 0.1 * random.standard_normal(count), 0, 1)
    return rewards, paid, np.where(paid, explored, 1 - explored), [str(one) for one in reader]


def test_all_paid_is_valued_from_a_tenth_of_paid_answers() -> None:
    inside = {"snips": 0, "dr": 0}
    values = {"snips": [], "dr": []}
    for seed in range(60):
        rewards, paid, propensities, readers = _answers(seed)
        policy = paid.astype(float)
        told = np.full(len(rewards), 0.65)  # a model of the reward that is wrong by .05
        found = {
            "snips": snips(rewards, propensities, policy, readers),
            "dr": doubly_robust(
                rewards, propensities, policy, readers, predicted=told, predicted_policy=told
            ),
        }
        for name, value in found.items():
            inside[name] += value.low <= TRUE_PAID <= value.high
            values[name].append(value.value)
            assert value.readers == 100
            assert value.effective == pytest.approx(paid.sum())
    for name, seen in inside.items():
        assert seen >= 50, name
        assert np.mean(values[name]) == pytest.approx(TRUE_PAID, abs=0.02)


def test_with_the_labels_gains_the_interval_holds_the_truth_and_is_narrower() -> None:
    """Half of the questions gain .4 by the paid model, and a policy sends it just these."""
    inside, narrower, naive = 0, 0, 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        count, explored = 2000, 0.1
        reader = random.integers(0, 100, count)
        readers = [str(one) for one in reader]
        hard = random.random(count) < 0.5
        paid = hard ^ (random.random(count) < explored)
        propensities = np.where(paid == hard, 1 - explored, explored)
        level = 0.1 * random.standard_normal(100)[reader]
        mean = np.where(paid, 0.3 + 0.4 * hard, 0.3) + level  # all paid: .5
        rewards = (random.random(count) < np.clip(mean, 0, 1)).astype(float)
        shape = np.where(hard, 0.5, 0.0)  # judges see more of a gain than readers do
        predicted = predicted_rewards(rewards, propensities, paid, readers, shape=shape)
        told = (rewards, propensities, paid.astype(float), readers)
        robust = doubly_robust(*told, predicted=predicted, predicted_policy=predicted)
        plain = snips(*told)
        inside += robust.low <= 0.5 <= robust.high
        narrower += robust.high - robust.low < plain.high - plain.low
        naive += abs(float(rewards[paid].mean()) - 0.5) < 0.05
    assert inside >= 52  # 95 % of 60, and three standard errors
    assert narrower >= 40
    assert naive <= 5  # the mean of what it answered is of the hard questions


def test_a_prediction_knows_nothing_of_its_own_readers_reward() -> None:
    rewards = np.array([1.0, 0.0, 0.0, 0.0])
    given, readers = np.array([True, True, True, False]), ["a", "b", "c", "d"]
    found = predicted_rewards(rewards, np.full(4, 0.5), given, readers, shape=np.zeros(4))
    changed = predicted_rewards(
        np.array([0.0, 0.0, 0.0, 0.0]), np.full(4, 0.5), given, readers, shape=np.zeros(4)
    )
    assert found[0] == changed[0] == 0.0
    assert found[3] == pytest.approx(1 / 3)
    nobody = predicted_rewards(rewards[:1], np.ones(1), given[:1], ["a"], shape=np.zeros(1))
    assert nobody[0] == 0.5


def test_the_policy_that_answered_is_valued_by_its_mean() -> None:
    rewards, _, propensities, readers = _answers(1)
    found = snips(rewards, propensities, propensities, readers)
    assert found.value == pytest.approx(rewards.mean())


@pytest.mark.parametrize("wrong", [0.0, np.nan, 1.5])
def test_a_missing_propensity_is_no_certainty(wrong: float) -> None:
    with pytest.raises(TwinError, match="1 of 2 answers without a propensity"):
        snips(np.array([0.5, 0.5]), np.array([wrong, 1.0]), np.ones(2), ["a", "b"])


def test_what_was_never_given_cannot_be_valued() -> None:
    with pytest.raises(TwinError, match="none of them"):
        snips(np.ones(2), np.ones(2), np.zeros(2), ["a", "b"])


def test_one_reader_tells_nothing_of_others() -> None:
    found = snips(np.array([0.4, 0.6]), np.ones(2), np.ones(2), ["a", "a"])
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
