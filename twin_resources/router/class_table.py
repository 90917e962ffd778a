"""Tabulate the gain by class of questions with empirical Bayes, which shrinks small classes.

Scope: the table and its intervals, for people. Out of scope: routing (`fixed_order.py`), for which
classes alone are too weak: their APGR on MMLU is 0.51 to 0.53, where random routing has 0.50.
Method: normal means with a common prior, moments by DerSimonian and Laird, Controlled Clinical
Trials 7 (1986); shrinkage as in Morris, JASA 78 (1983).

    gain_c ~ N(μ, τ²),  mean_c | gain_c ~ N(gain_c, s²/n_c)        shown: E[gain_c | mean_c]
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin_resources.router.features import Floats

Z_SCORE_95 = 1.96
# Number of pseudo-labels with the overall spread in each class, because three equal gains prove
# little.
_PSEUDO_LABELS = 4.0


@dataclass(frozen=True)
class ClassGain:
    """A row of the table.

    Attributes:
        labels: number of labels in the class.
        gain: shrunken mean of the paid model's score minus that of the home's model.
        low, high: 95 % interval, in [−1, 1].
    """

    prompt_class: str
    labels: int
    gain: float
    low: float
    high: float


def class_table(classes: Sequence[str], gains: Sequence[float]) -> tuple[ClassGain, ...]:
    """Return the gain of each class that has labels, in order of name.

    Args:
        classes: class of each label.
        gains: gain of each label, in [−1, 1].
    """
    values = np.asarray(gains, np.float64)
    if not len(values):
        return ()
    names = sorted(set(classes))
    class_of_label = np.asarray(classes)
    overall = float(values.var(ddof=1)) if len(values) > 1 else 1.0
    means: list[float] = []
    variances: list[float] = []
    counts: list[int] = []
    for name in names:
        subset = values[class_of_label == name]
        squares = float(((subset - subset.mean()) ** 2).sum())
        spread = (squares + _PSEUDO_LABELS * overall) / (len(subset) - 1 + _PSEUDO_LABELS)
        means.append(float(subset.mean()))
        variances.append(max(spread, 1e-6) / len(subset))
        counts.append(len(subset))
    mean, variance = np.asarray(means), np.asarray(variances)
    between_variance = _between_class_variance(mean, variance)
    weights = 1.0 / (variance + between_variance)
    centre = float((weights * mean).sum() / weights.sum())
    centre_variance = 1.0 / float(weights.sum())
    table: list[ClassGain] = []
    for number, name in enumerate(names):
        weight = between_variance / (between_variance + variance[number])
        gain = weight * mean[number] + (1.0 - weight) * centre
        posterior_variance = weight * variance[number] + (1.0 - weight) ** 2 * centre_variance
        half = Z_SCORE_95 * math.sqrt(posterior_variance)
        table.append(
            ClassGain(
                name,
                counts[number],
                float(gain),
                float(max(-1.0, gain - half)),
                float(min(1.0, gain + half)),
            )
        )
    return tuple(table)


def _between_class_variance(means: Floats, variances: Floats) -> float:
    """Return τ² by the method of moments, or 0 if the classes differ no more than by chance."""
    if len(means) < 2:
        return 0.0
    weights = 1.0 / variances
    centre = float((weights * means).sum() / weights.sum())
    excess = float((weights * (means - centre) ** 2).sum()) - (len(means) - 1)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    return max(0.0, excess / scale)
