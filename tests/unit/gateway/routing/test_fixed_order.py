"""The order of the steps, its bets, and when a policy comes into force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.unit.gateway.routing.labelled import MARGIN, drawn, features, fitted_policy
from twin_resources.errors import TwinError
from twin_resources.router import adoption
from twin_resources.router.fixed_order import (
    PriceStep,
    cheapest_certified,
    choose_models,
    compute_exit_weights,
    compute_price_steps,
    log_evidence,
    lower_bound,
)
from twin_resources.router.gain import assign_folds, fit
from twin_resources.statistics import promotion
from twin_resources.statistics.promotion import PairedDifference


def _steps(count: int, *, seed: int = 0) -> tuple[PriceStep, ...]:
    found = drawn(count, seed=seed)
    folds = assign_folds([str(n) for n in range(count)])
    made = fit(features(found), found.gains, folds, ridges=[3.0])
    return compute_price_steps(found.gains, made.cross_fitted, [0.0, 0.001], margin=MARGIN)


def test_the_bet_is_the_one_of_the_releases() -> None:
    random = np.random.default_rng(0)
    differences = np.clip(random.normal(0.02, 0.2, 300), -1, 1)
    state = promotion.begin(claims=("quality",), margin=MARGIN, alpha=1e-12)
    for number, item in enumerate(differences, start=1):
        state = promotion.fold(state, PairedDifference(number, {"quality": float(item)}))
    assert log_evidence(differences, margin=MARGIN) == pytest.approx(state.highest["quality"])


def test_the_lower_bound_is_where_the_bet_is_just_won() -> None:
    differences = np.random.default_rng(1).normal(0.0, 0.1, 500)
    bound = lower_bound(differences)
    assert -0.05 < bound < differences.mean()
    assert log_evidence(differences, margin=-bound) >= math.log(20) - 0.05
    assert log_evidence(differences, margin=-bound - 0.002) < math.log(20)
    assert lower_bound(differences[:0]) == -1.0


def test_half_of_the_questions_can_go_to_the_own_model() -> None:
    found = _steps(400)
    best = cheapest_certified(found)
    assert best is not None
    assert 0.35 < 1.0 - best.kept < 0.6
    assert best.lower > -MARGIN
    assert found[-1].kept == pytest.approx(0.0, abs=0.01)
    assert not found[-1].certified
    assert [one.kept for one in found] == sorted((one.kept for one in found), reverse=True)


def test_the_order_ends_at_the_first_step_that_is_not_won() -> None:
    found = _steps(400)
    first = next(n for n, one in enumerate(found) if not one.certified)
    assert all(one.certified for one in found[:first])
    assert not any(one.certified for one in found[first:])


def test_with_few_labels_nothing_is_certified_and_it_says_how_many_are_missing() -> None:
    found = _steps(60)
    assert cheapest_certified(found) is None
    said = adoption.decide_adoption(found, labels=60, spread=0.3, margin=MARGIN)
    assert not said.adopted
    assert said.missing_labels > 100
    assert f"about {said.missing_labels} more" in said.reason


def test_a_paid_model_that_is_always_needed_is_told_apart_from_few_labels() -> None:
    gains = np.full((1500, 1), 0.6)
    noise = 0.01 * np.random.default_rng(7).standard_normal((1500, 1))
    order = compute_price_steps(gains, gains + noise, [0.0, 0.001], margin=MARGIN)
    said = adoption.decide_adoption(order, labels=1500, spread=0.1, margin=MARGIN)
    assert (said.adopted, said.missing_labels) == (False, 0)
    assert "no operating point" in said.reason


def test_a_policy_is_adopted_against_all_paid_and_against_the_one_in_force() -> None:
    found = _steps(400)
    said = adoption.decide_adoption(found, labels=400, spread=0.3, margin=MARGIN)
    assert said.adopted
    assert said.step == cheapest_certified(found)
    few = adoption.decide_adoption(
        found,
        labels=400,
        spread=0.3,
        margin=MARGIN,
        differences_to_policy_in_force=[np.zeros(20)] * len(found),
    )
    assert not few.adopted
    assert 100 < few.missing_labels < 300
    worse = adoption.decide_adoption(
        found,
        labels=400,
        spread=0.3,
        margin=MARGIN,
        differences_to_policy_in_force=[np.full(400, -0.1)] * len(found),
    )
    assert not worse.adopted
    assert worse.missing_labels == 0
    as_good = adoption.decide_adoption(
        found,
        labels=400,
        spread=0.3,
        margin=MARGIN,
        differences_to_policy_in_force=[np.zeros(400)] * len(found),
    )
    assert as_good.adopted


def test_a_policy_that_later_labels_speak_against_is_withdrawn() -> None:
    random = np.random.default_rng(5)
    good = np.clip(random.normal(-0.01, 0.2, 800), -1, 1)
    assert not adoption.has_degraded([float(item) for item in good], margin=MARGIN)
    assert adoption.has_degraded([float(item - 0.1) for item in good], margin=MARGIN)


def test_three_models_each_answer_what_they_are_worth() -> None:
    random = np.random.default_rng(8)
    kind = random.integers(0, 3, 1200)
    larger = np.where(kind == 0, 0.0, 0.5)
    paid = np.where(kind == 2, 0.9, larger)
    gains = np.stack([larger, paid], axis=1)
    prices = [0.00001, 0.0002, 0.002]
    order = compute_price_steps(
        gains, gains + 0.01 * random.standard_normal(gains.shape), prices, margin=MARGIN
    )
    best = cheapest_certified(order)
    assert best is not None
    chosen = choose_models(gains, np.asarray(prices), best.weight)
    for model in range(3):
        assert (chosen[kind == model] == model).mean() > 0.9
    assert best.usd < 0.5 * prices[2]


def test_a_question_leaves_the_dearest_model_at_its_weight() -> None:
    gains, prices = np.array([[0.2], [-0.1]]), np.array([0.0, 0.01])
    leaving = compute_exit_weights(gains, prices)
    assert leaving == pytest.approx([20.0, -10.0])
    assert choose_models(gains, prices, 19.9).tolist() == [1, 0]
    assert choose_models(gains, prices, 20.1).tolist() == [0, 0]
    assert choose_models(gains, prices, -math.inf).tolist() == [1, 1]


@pytest.mark.parametrize(
    "prices", [[0.001], [0.001, 0.001], [0.002, 0.001], [0.0, math.nan]], ids=str
)
def test_a_model_without_a_price_or_a_dearer_own_one_is_said(prices: list[float]) -> None:
    with pytest.raises(TwinError, match="route by price"):
        compute_price_steps(np.zeros((3, 1)), np.zeros((3, 1)), prices, margin=MARGIN)


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1, math.nan])
def test_a_margin_that_is_no_number_between_0_and_1_is_said(margin: float) -> None:
    with pytest.raises(TwinError, match="TWIN_QUALITY_MARGIN"):
        compute_price_steps(np.zeros((3, 1)), np.zeros((3, 1)), [0.0, 1.0], margin=margin)


def test_a_fitted_policy_has_a_step_in_force() -> None:
    policy = fitted_policy(drawn(400, seed=0))
    assert policy.step.certified
