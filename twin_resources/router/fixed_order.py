"""How far down from "the dearest model answers all" the questions may go, at no more than a margin.

Scope: the steps, which model each step gives a question, the bets, where the order stops.
Out of scope: predicting gains (`gain.py`), replacing a policy in force (`adoption.py`).

Sources: fixed-order testing, Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test",
https://arxiv.org/abs/2110.01052, section 2.1; the bet is `statistics/promotion.py`'s U.

A step w gives a question the model that is best after its price, argmax_m ĝ_m − w·c_m, on
*cross-fitted* ĝ. Its labels say what that loses against the dearest model, d = g_chosen − g_dearest
in [−1, 1]. Each step tests H0: E[d] ≤ −margin, in the order of the steps, and the first that is not
rejected ends it; so the chance that a step below the margin is taken is α whatever the number of
steps. By Ville's inequality the bets may be looked at after every label. Thresholds from the same
labels that fitted the gains pass the margin in 100 % of splits (`tests/bench/bench_routing.py`).
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
from twin_resources.statistics.bets import FRACTIONS, STAKE
from twin_resources.statistics.promotion import ALPHA

STEP = 0.025  # of the questions leave the dearest model at each step
_HALVINGS = 12  # the bound is within .0005


@dataclass(frozen=True)
class PriceStep:
    """One operating point, measured on the labels.

    Attributes:
        weight: w, in score per US dollar; −inf: the dearest model answers all.
        kept: share of the labels that the dearest model still answers.
        usd: mean price of an answer, US dollars.
        value: mean of d, score against the dearest model (negative: a loss).
        lower: 95 % lower bound of it, valid whenever it is looked at.
        log_evidence: largest log wealth against "loses more than the margin".
        certified: its bet was won, and those of all steps before it.
    """

    weight: float
    kept: float
    usd: float
    value: float
    lower: float
    log_evidence: float
    certified: bool


def choices(predicted: Floats, prices: Floats, weight: float) -> NDArray[np.int64]:
    """The model of each question at a step, shape (n,); the own model is 0, equal ones the dearer.

    Args:
        predicted: gains over the own model, shape (n, models − 1).
        prices: US dollars an answer, the own model first, rising; shape (models,).
        weight: w.
    """
    if weight == -math.inf:
        return np.full(len(predicted), len(prices) - 1, np.int64)
    scores = with_own(predicted) - weight * prices[None]
    dearest_first = scores[:, ::-1].argmax(1)
    return len(prices) - 1 - dearest_first.astype(np.int64)


def with_own(gains: Floats) -> Floats:
    """Gains with the own model's column of zeros in front, shape (n, models)."""
    return np.concatenate([np.zeros((len(gains), 1)), gains], axis=1)


def leaving_weights(predicted: Floats, prices: Floats) -> Floats:
    """The w above which each question leaves the dearest model, shape (n,)."""
    scores = with_own(predicted)
    dearer = prices[-1] - prices[:-1]
    return ((scores[:, -1:] - scores[:, :-1]) / dearer[None]).min(1)


def steps(
    gains: Floats,
    cross_fitted: Floats,
    prices: Sequence[float],
    *,
    margin: float,
    alpha: float = ALPHA,
    step: float = STEP,
) -> tuple[PriceStep, ...]:
    """Every operating point in the fixed order, from all to the dearest model to all to the own.

    Args:
        gains: over the own model on the labels in the order of their arrival, shape
            (n, models − 1).
        cross_fitted: predictions of them (`gain.fit`).
        prices: US dollars an answer, the own model first.
        margin: what may be lost against the dearest model, score in (0, 1).

    Raises:
        TwinError: prices that do not rise, or are missing; a margin outside (0, 1).
    """
    costs = checked_prices(prices, models=gains.shape[1] + 1)
    checked_margin(margin)
    true_gains = with_own(gains)
    dearest = len(costs) - 1
    leaving = leaving_weights(cross_fitted, costs)
    shares = np.arange(step, 1.0 + step / 2, step)
    weights = [-math.inf, *(float(w) for w in np.quantile(leaving, np.minimum(shares, 1.0)))]
    price_steps: list[PriceStep] = []
    holds, known = True, np.arange(len(gains))
    for weight in weights:
        chosen = choices(cross_fitted, costs, weight)
        lost = true_gains[known, chosen] - true_gains[:, dearest]
        evidence = log_evidence(lost, margin=margin)
        holds = holds and evidence >= math.log(1.0 / alpha)
        price_steps.append(
            PriceStep(
                weight=weight,
                kept=float((chosen == dearest).mean()),
                usd=float(costs[chosen].mean()),
                value=float(lost.mean()),
                lower=lower_bound(lost, alpha=alpha),
                log_evidence=evidence,
                certified=holds,
            )
        )
    return tuple(price_steps)


def cheapest_certified(price_steps: Sequence[PriceStep]) -> PriceStep | None:
    """The last step of the order that was certified; None: not even "the dearest answers all".

    That step loses nothing, so it is won by the number of labels alone (about 170 at .03).
    """
    certified = [price_step for price_step in price_steps if price_step.certified]
    return certified[-1] if certified else None


def log_evidence(differences: Floats, *, margin: float) -> float:
    """Largest log wealth of the bet against E[d] ≤ −margin, over the labels in order.

    The same as `evidence.promotion.fold` gives for one claim, of all labels at once (a test holds
    the two together); labels that arrive later never take it back.
    """
    if not len(differences):
        return 0.0
    null = (1.0 - margin) / 2.0
    z = (1.0 + differences) / 2.0
    logs = np.cumsum(np.log1p((STAKE / null) * np.outer(FRACTIONS, z - null)), axis=1)
    top = logs.max(0)
    wealth = top + np.log(np.exp(logs - top).mean(0))
    return max(0.0, float(wealth.max()))


def lower_bound(differences: Floats, *, alpha: float = ALPHA) -> float:
    """The largest m in [−1, 1] with every smaller mean bet away: valid at any time, for any number.

    0 labels know nothing: −1.
    """
    if not len(differences):
        return -1.0
    needed, low, high = math.log(1.0 / alpha), -1.0, float(differences.mean())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        # margin = −m: the same bet, against another mean
        won = middle > -1.0 and log_evidence(differences, margin=-middle) >= needed
        low, high = (middle, high) if won else (low, middle)
    return low


def checked_prices(prices: Sequence[float], *, models: int) -> Floats:
    """The prices as an array.

    Raises:
        TwinError: one is missing, no number, or not above the one before.
    """
    numbers = np.asarray(prices, np.float64)
    if len(numbers) != models or not np.isfinite(numbers).all() or (np.diff(numbers) <= 0).any():
        raise TwinError(
            "route by price",
            found=f"prices {list(prices)} of an answer for {models} models",
            next_step="give every model a price, from the own one up to the dearest",
        )
    return numbers


def checked_margin(margin: float) -> float:
    """The margin.

    Raises:
        TwinError: it is no number between 0 and 1.
    """
    if not 0.0 < margin < 1.0:  # false for NaN, too
        raise TwinError(
            "certify a routing policy",
            found=f"a margin of {margin}",
            next_step="set TWIN_QUALITY_MARGIN above 0 and below 1 (.03: three points of score)",
        )
    return margin
