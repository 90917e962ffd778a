"""Test the sequential certification of price steps, and the adoption of a policy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.unit.gateway.routing.labeled_questions import MARGIN, features, sample_questions
from twin_resources.errors import TwinError
from twin_resources.router import adoption
from twin_resources.router.fixed_sequence import (
    PriceStep,
    choose_models,
    compute_exit_weights,
    compute_price_steps,
    find_cheapest_step,
    log_evidence,
    lower_bound,
)
from twin_resources.router.gain import assign_folds, fit
from twin_resources.statistics import promotion
from twin_resources.statistics.promotion import PairedDifference


def _steps(count: int) -> tuple[PriceStep, ...]:
    questions = sample_questions(count, seed=0)
    folds = assign_folds([str(n) for n in range(count)])
    fitted = fit(features(questions), questions.gains, folds)
    return compute_price_steps(questions.gains, fitted.cross_fitted, [0.0, 0.001], margin=MARGIN)


def test_the_bet_equals_that_of_a_release_test() -> None:
    rng = np.random.default_rng(0)
    differences = np.clip(rng.normal(0.02, 0.2, 300), -1, 1)
    state = promotion.start_test(claims=("quality",), margin=MARGIN, alpha=1e-12)
    for number, difference in enumerate(differences, start=1):
        state = promotion.add_pair(state, PairedDifference(number, {"quality": float(difference)}))
    assert log_evidence(differences, margin=MARGIN) == pytest.approx(state.highest["quality"])


def test_the_bet_is_won_at_the_lower_bound_and_not_above_it() -> None:
    differences = np.random.default_rng(1).normal(0.0, 0.1, 500)
    bound = lower_bound(differences)
    assert -0.05 < bound < differences.mean()
    assert log_evidence(differences, margin=-bound) >= math.log(20) - 0.05
    assert log_evidence(differences, margin=-bound - 0.002) < math.log(20)
    assert lower_bound(differences[:0]) == -1.0


def test_half_of_the_questions_can_go_to_the_twins_own_model() -> None:
    steps = _steps(400)
    active_step = find_cheapest_step(steps)
    assert active_step is not None
    assert 0.35 < 1.0 - active_step.kept < 0.6
    assert active_step.lower > -MARGIN
    assert steps[-1].kept == pytest.approx(0.0, abs=0.01)
    assert not steps[-1].certified
    assert [step.kept for step in steps] == sorted((step.kept for step in steps), reverse=True)


def test_no_step_is_certified_after_the_first_lost_bet() -> None:
    steps = _steps(400)
    first_failed = next(n for n, step in enumerate(steps) if not step.certified)
    assert all(step.certified for step in steps[:first_failed])
    assert not any(step.certified for step in steps[first_failed:])


def test_with_few_labels_no_step_is_certified_and_missing_labels_are_estimated() -> None:
    steps = _steps(60)
    assert find_cheapest_step(steps) is None
    decision = adoption.decide_adoption(steps, label_count=60, spread=0.3, margin=MARGIN)
    assert not decision.is_adopted
    assert decision.missing_labels > 100
    assert f"about {decision.missing_labels} more" in decision.reason


def test_an_always_needed_paid_model_has_no_operating_point() -> None:
    gains = np.full((1500, 1), 0.6)
    noise = 0.01 * np.random.default_rng(7).standard_normal((1500, 1))
    steps = compute_price_steps(gains, gains + noise, [0.0, 0.001], margin=MARGIN)
    decision = adoption.decide_adoption(steps, label_count=1500, spread=0.1, margin=MARGIN)
    assert (decision.is_adopted, decision.missing_labels) == (False, 0)
    assert "no operating point" in decision.reason


def test_a_policy_must_not_be_worse_than_the_policy_in_force() -> None:
    steps = _steps(400)
    decision = adoption.decide_adoption(steps, label_count=400, spread=0.3, margin=MARGIN)
    assert decision.is_adopted
    assert decision.step == find_cheapest_step(steps)
    few_labels = adoption.decide_adoption(
        steps,
        label_count=400,
        spread=0.3,
        margin=MARGIN,
        differences_to_policy_in_force=[np.zeros(20)] * len(steps),
    )
    assert not few_labels.is_adopted
    assert 100 < few_labels.missing_labels < 300
    worse = adoption.decide_adoption(
        steps,
        label_count=400,
        spread=0.3,
        margin=MARGIN,
        differences_to_policy_in_force=[np.full(400, -0.1)] * len(steps),
    )
    assert not worse.is_adopted
    assert worse.missing_labels == 0
    as_good = adoption.decide_adoption(
        steps,
        label_count=400,
        spread=0.3,
        margin=MARGIN,
        differences_to_policy_in_force=[np.zeros(400)] * len(steps),
    )
    assert as_good.is_adopted


def test_a_policy_that_loses_on_later_labels_has_degraded() -> None:
    rng = np.random.default_rng(5)
    differences = np.clip(rng.normal(-0.01, 0.2, 800), -1, 1)
    assert not adoption.has_degraded(
        [float(difference) for difference in differences], margin=MARGIN
    )
    assert adoption.has_degraded(
        [float(difference - 0.1) for difference in differences], margin=MARGIN
    )


def test_each_question_goes_to_the_model_that_is_worth_its_price() -> None:
    rng = np.random.default_rng(8)
    best_models = rng.integers(0, 3, 1200)
    larger = np.where(best_models == 0, 0.0, 0.5)
    paid = np.where(best_models == 2, 0.9, larger)
    gains = np.stack([larger, paid], axis=1)
    prices = [0.00001, 0.0002, 0.002]
    steps = compute_price_steps(
        gains, gains + 0.01 * rng.standard_normal(gains.shape), prices, margin=MARGIN
    )
    active_step = find_cheapest_step(steps)
    assert active_step is not None
    models = choose_models(gains, np.asarray(prices), active_step.weight)
    for model in range(3):
        assert (models[best_models == model] == model).mean() > 0.9
    assert active_step.usd < 0.5 * prices[2]


def test_a_question_leaves_the_most_expensive_model_at_its_weight() -> None:
    gains, prices = np.array([[0.2], [-0.1]]), np.array([0.0, 0.01])
    exit_weights = compute_exit_weights(gains, prices)
    assert exit_weights == pytest.approx([20.0, -10.0])
    assert choose_models(gains, prices, 19.9).tolist() == [1, 0]
    assert choose_models(gains, prices, 20.1).tolist() == [0, 0]
    assert choose_models(gains, prices, -math.inf).tolist() == [1, 1]


@pytest.mark.parametrize(
    "prices", [[0.001], [0.001, 0.001], [0.002, 0.001], [0.0, math.nan]], ids=str
)
def test_prices_that_do_not_ascend_are_refused(prices: list[float]) -> None:
    with pytest.raises(TwinError, match="route by price"):
        compute_price_steps(np.zeros((3, 1)), np.zeros((3, 1)), prices, margin=MARGIN)
