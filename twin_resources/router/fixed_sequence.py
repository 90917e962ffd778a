"""Certify how many questions cheaper models may answer without losing more than a margin.

Scope: the steps, the model of each question at a step, the bets, the last certified step.
Out of scope: predicting gains (`gain.py`), replacing a policy in force (`adoption.py`).

Sources: fixed-sequence testing, Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test",
https://arxiv.org/abs/2110.01052, section 2.1; the bet is U of `statistics/promotion.py`.

A step w assigns to a question the model with the highest gain after its price,
argmax_m ĝ_m − w·c_m, on *cross-fitted* ĝ. The labels measure the difference of this model from the
most expensive one, d = g_chosen − g_most_expensive in [−1, 1]. The steps test H0: E[d] ≤ −margin in
their order, up to the first that is not rejected. The probability of certifying a step below the
margin is therefore at most α for any number of steps. By Ville's inequality, the bets may be
evaluated after every label. Thresholds chosen on the labels that fitted the gains exceed the margin
in 100 % of splits (`tests/bench/bench_routing.py`).
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_resources.errors import TwinError
from twin_resources.router.features import Floats
from twin_resources.statistics.bets import FRACTIONS, STAKE_SHARE
from twin_resources.statistics.promotion import ALPHA

LOG_THRESHOLD = math.log(1.0 / ALPHA)  # the log wealth that wins a bet
STEP_SHARE = 0.025  # share of questions that leave the most expensive model per step
_BISECTIONS = 12  # the bound is exact to within 0.0005


@dataclass(frozen=True)
class PriceStep:
    """One operating point, measured on the labels.

    Attributes:
        weight: w, in score per US dollar; −inf if the most expensive model answers all.
        kept: the share of labels that the most expensive model still answers.
        usd: the mean price of an answer, in US dollars.
        value: the mean of d, the score against the most expensive model (negative for a loss).
        lower: the 95 % lower bound of `value`, valid after any number of labels.
        log_evidence: the largest log wealth against "loses more than the margin".
        certified: whether its bet and those of all earlier steps were won.
    """

    weight: float
    kept: float
    usd: float
    value: float
    lower: float
    log_evidence: float
    certified: bool


def choose_models(predicted: Floats, prices: Floats, weight: float) -> NDArray[np.int64]:
    """Return the model of each question at a step, shape (n,).

    The home's model is 0. If scores tie, the more expensive model is chosen.

    Args:
        predicted: the gains over the home's model, shape (n, models − 1).
        prices: US dollars per answer, ascending from the home's model; shape (models,).
        weight: w.
    """
    if weight == -math.inf:
        return np.full(len(predicted), len(prices) - 1, np.int64)
    scores = prepend_own_model(predicted) - weight * prices[None]
    reversed_choice = scores[:, ::-1].argmax(1)
    return len(prices) - 1 - reversed_choice.astype(np.int64)


def prepend_own_model(gains: Floats) -> Floats:
    """Prepend a column of zeros for the home's model to the gains, shape (n, models)."""
    return np.concatenate([np.zeros((len(gains), 1)), gains], axis=1)


def compute_exit_weights(predicted: Floats, prices: Floats) -> Floats:
    """Return the w above which each question leaves the most expensive model, shape (n,)."""
    scores = prepend_own_model(predicted)
    price_differences = prices[-1] - prices[:-1]
    return ((scores[:, -1:] - scores[:, :-1]) / price_differences[None]).min(1)


def compute_price_steps(
    gains: Floats,
    cross_fitted: Floats,
    prices: Sequence[float],
    *,
    margin: float,
) -> tuple[PriceStep, ...]:
    """Return every operating point in the fixed order.

    The order starts with all questions on the most expensive model and ends with none.

    Args:
        gains: the gains over the home's model by label, in order of arrival, shape (n, models − 1).
        cross_fitted: the cross-fitted predictions of the gains (`gain.fit`).
        prices: US dollars per answer, the home's model first.
        margin: the maximum loss against the most expensive model, a score in (0, 1).

    Raises:
        TwinError: the prices are missing or do not ascend.
    """
    costs = validate_prices(prices, model_count=gains.shape[1] + 1)
    true_gains = prepend_own_model(gains)
    last_model = len(costs) - 1
    exit_weights = compute_exit_weights(cross_fitted, costs)
    shares = np.arange(STEP_SHARE, 1.0 + STEP_SHARE / 2, STEP_SHARE)
    weights = [
        -math.inf,
        *(float(weight) for weight in np.quantile(exit_weights, np.minimum(shares, 1.0))),
    ]
    price_steps: list[PriceStep] = []
    is_certified, label_indices = True, np.arange(len(gains))
    for weight in weights:
        models = choose_models(cross_fitted, costs, weight)
        differences = true_gains[label_indices, models] - true_gains[:, last_model]
        evidence = log_evidence(differences, margin=margin)
        is_certified = is_certified and evidence >= LOG_THRESHOLD
        price_steps.append(
            PriceStep(
                weight=weight,
                kept=float((models == last_model).mean()),
                usd=float(costs[models].mean()),
                value=float(differences.mean()),
                lower=lower_bound(differences),
                log_evidence=evidence,
                certified=is_certified,
            )
        )
    return tuple(price_steps)


def find_cheapest_step(price_steps: Sequence[PriceStep]) -> PriceStep | None:
    """Return the last certified step of the order, or None if the first step is not certified.

    The first step, "the most expensive model answers all", loses nothing, so its bet needs only
    enough labels (about 170 at a margin of 0.03).
    """
    certified_steps = [price_step for price_step in price_steps if price_step.certified]
    return certified_steps[-1] if certified_steps else None


def log_evidence(differences: Floats, *, margin: float) -> float:
    """Return the largest log wealth of the bet against E[d] ≤ −margin, over the labels in order.

    The result equals that of `statistics.promotion.add_pair` for one claim, computed for all labels
    at once (a test compares the two). Later labels never reduce it.
    """
    if not len(differences):
        return 0.0
    null = (1.0 - margin) / 2.0
    z = (1.0 + differences) / 2.0
    log_wealths = np.cumsum(np.log1p((STAKE_SHARE / null) * np.outer(FRACTIONS, z - null)), axis=1)
    peak = log_wealths.max(0)
    log_mean = peak + np.log(np.exp(log_wealths - peak).mean(0))
    return max(0.0, float(log_mean.max()))


def lower_bound(differences: Floats) -> float:
    """Return the largest m in [−1, 1] such that every smaller mean is rejected.

    The bound is valid after any number of labels; without labels it is −1.
    """
    if not len(differences):
        return -1.0
    low, high = -1.0, float(differences.mean())
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        # The same bet against a different mean, with margin = −m.
        is_rejected = middle > -1.0 and log_evidence(differences, margin=-middle) >= LOG_THRESHOLD
        low, high = (middle, high) if is_rejected else (low, middle)
    return low


def validate_prices(prices: Sequence[float], *, model_count: int) -> Floats:
    """Return the prices as an array.

    Raises:
        TwinError: a price is missing, not finite, or not above the previous one.
    """
    numbers = np.asarray(prices, np.float64)
    is_ascending = np.isfinite(numbers).all() and (np.diff(numbers) > 0).all()
    if len(numbers) != model_count or not is_ascending:
        raise TwinError(
            "route by price",
            found=f"the prices {list(prices)} per answer for {model_count} models",
            next_step="give every model a price, from your own model to the most expensive one",
        )
    return numbers
