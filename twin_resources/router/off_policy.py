"""What a policy would be worth, from answers that another one gave by lot: SNIPS and doubly robust.

Belongs here: both estimates with their intervals over readers, the prediction q of the second.
Does not belong here: the lot (`routing_decision.py`), reading the ledger.

Sources: Swaminathan and Joachims, "The Self-Normalized Estimator", NeurIPS 2015; Dudík, Langford
and Li, "Doubly Robust Policy Evaluation and Learning", https://arxiv.org/abs/1103.4601. With the
weight w_i = π(a_i | x_i) / p_i:

    SNIPS = Σ w_i·r_i / Σ w_i        DR = mean( Σ_a π(a | x_i)·q(x_i, a) + w_i·(r_i − q(x_i, a_i)) )

Answers of one reader are not independent: variances are of sums over readers (Liang and Zeger,
Biometrika 73, 1986).
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_resources.errors import TwinError
from twin_resources.router.class_table import TWO_SIDED
from twin_resources.router.features import Floats
from twin_resources.router.gain import folds_of


@dataclass(frozen=True)
class PolicyValue:
    """An estimate.

    Attributes:
        value: mean reward under the policy.
        low, high: 95 % interval over readers.
        effective: effective number of answers, (Σw)² / Σw².
        readers: how many there are; with fewer than two the interval is the whole range.
    """

    value: float
    low: float
    high: float
    effective: float
    readers: int


def snips(
    rewards: Floats, propensities: Floats, policy: Floats, readers: Sequence[str]
) -> PolicyValue:
    """The self-normalised estimate.

    Args:
        rewards: of the answers that were given, in [0, 1], shape (n,).
        propensities: probability of the model that answered, as logged, in (0, 1]; shape (n,).
        policy: probability of that model under the policy to be valued, shape (n,).
        readers: who asked.

    Raises:
        TwinError: a propensity that is missing, 0 or above 1; or the policy gives none of these
            answers.
    """
    weights = _weights(propensities, policy)
    total = float(weights.sum())
    if total <= 0.0:
        raise TwinError(
            "value a policy by readers' answers",
            found="that it would have given none of them",
            next_step="explore: without a lot only the policy that answered can be valued",
        )
    value = float((weights * rewards).sum()) / total
    return _estimate(value, weights * (rewards - value) / total, weights, readers)


def doubly_robust(
    rewards: Floats,
    propensities: Floats,
    policy: Floats,
    readers: Sequence[str],
    *,
    predicted: Floats,
    predicted_policy: Floats,
) -> PolicyValue:
    """The doubly robust estimate: right when propensities or predictions are.

    Args:
        rewards, propensities, policy, readers: as for `snips`.
        predicted: q of the model that answered, shape (n,).
        predicted_policy: Σ_a π(a)·q(a), shape (n,).

    Raises:
        TwinError: as for `snips`, but for the last.
    """
    weights = _weights(propensities, policy)
    terms = predicted_policy + weights * (rewards - predicted)
    value = float(terms.mean())
    return _estimate(value, (terms - value) / len(terms), weights, readers)


def predicted_rewards(
    rewards: Floats,
    propensities: Floats,
    given: NDArray[np.bool_],
    readers: Sequence[str],
    *,
    shape: Floats,
) -> Floats:
    """q of one model for every question, shape (n,): its level by rewards, its shape by labels.

    The level is the weighted mean of the rewards of other readers' answers, so that no reader's own
    reward is in what is taken off it; without any it is .5. The shape need not be right: where it
    is, the doubly robust interval is narrower.

    Args:
        rewards, propensities, readers: as for `snips`.
        given: whether that model answered, shape (n,).
        shape: what labels say of the model on each question, up to a constant; shape (n,).
    """
    weights = np.where(given, 1.0, 0.0) / propensities
    beyond = rewards - shape
    folds = folds_of(readers)
    level = np.empty(len(rewards))
    for fold in np.unique(folds):
        others = weights * (folds != fold)
        total = float(others.sum())
        mine = folds == fold
        level[mine] = (
            float((others * beyond).sum()) / total if total > 0.0 else 0.5 - float(shape.mean())
        )
    return np.clip(level + shape, 0.0, 1.0)


def _weights(propensities: Floats, policy: Floats) -> Floats:
    # A missing one is no 1: that would count an answer of the lot as if it were sure.
    wrong = ~((propensities > 0.0) & (propensities <= 1.0))
    if not len(propensities) or wrong.any():
        raise TwinError(
            "value a policy by readers' answers",
            found=f"{int(wrong.sum())} of {len(propensities)} answers without a propensity "
            "in (0, 1]",
            next_step="leave out answers whose trace has none",
        )
    return policy / propensities


def _estimate(
    value: float, influence: Floats, weights: Floats, readers: Sequence[str]
) -> PolicyValue:
    sums: dict[str, float] = {}
    for reader, part in zip(readers, influence, strict=True):
        sums[reader] = sums.get(reader, 0.0) + float(part)
    count = len(sums)
    squares = float((weights**2).sum())
    effective = float(weights.sum()) ** 2 / squares if squares > 0 else 0.0
    if count < 2:
        return PolicyValue(value, 0.0, 1.0, effective, count)
    variance = count / (count - 1) * math.fsum(part * part for part in sums.values())
    half = TWO_SIDED * math.sqrt(variance)
    return PolicyValue(value, value - half, value + half, effective, count)
