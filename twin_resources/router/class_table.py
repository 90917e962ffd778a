"""Tabulate the gain by class of question; empirical Bayes shrinks the gains of small classes.

Scope: the table and its intervals, for people.
Out of scope: routing (`fixed_sequence.py`). Classes alone are too weak for routing: their APGR on
MMLU is 0.51 to 0.53, and random routing has 0.50.
Method: normal means with a common prior, moments by DerSimonian and Laird, Controlled Clinical
Trials 7 (1986); shrinkage as in Morris, JASA 78 (1983).

    gain_c ~ N(μ, τ²),  mean_c | gain_c ~ N(gain_c, s²/n_c)        result: E[gain_c | mean_c]
"""
# pyright: strict

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin_resources.router.features import Floats

Z_SCORE_95 = 1.96
# The number of pseudo-labels with the overall spread in each class, because three equal gains prove
# little.
_PSEUDO_LABELS = 4.0


@dataclass(frozen=True)
class ClassGain:
    """A row of the table.

    Attributes:
        labels: the number of labels in the class.
        gain: the shrunken mean of (paid model's score − home model's score).
        low, high: the 95 % interval, in [−1, 1].
    """

    prompt_class: str
    labels: int
    gain: float
    low: float
    high: float


def class_table(classes: Sequence[str], gains: Sequence[float]) -> tuple[ClassGain, ...]:
    """Return the gain of each class with labels, in order of name.

    Args:
        classes: the class of each label.
        gains: the gain of each label, in [−1, 1].
    """
    values = np.asarray(gains, np.float64)
    if not len(values):
        return ()
    names = sorted(set(classes))
    class_of_label = np.asarray(classes)
    overall_variance = float(values.var(ddof=1)) if len(values) > 1 else 1.0
    means: list[float] = []
    variances: list[float] = []
    counts: list[int] = []
    for name in names:
        class_gains = values[class_of_label == name]
        squares = float(((class_gains - class_gains.mean()) ** 2).sum())
        class_variance = (squares + _PSEUDO_LABELS * overall_variance) / (
            len(class_gains) - 1 + _PSEUDO_LABELS
        )
        means.append(float(class_gains.mean()))
        variances.append(max(class_variance, 1e-6) / len(class_gains))
        counts.append(len(class_gains))
    mean, variance = np.asarray(means), np.asarray(variances)
    between_variance = _between_class_variance(mean, variance)
    weights = 1.0 / (variance + between_variance)
    center = float((weights * mean).sum() / weights.sum())
    center_variance = 1.0 / float(weights.sum())
    table: list[ClassGain] = []
    for index, name in enumerate(names):
        weight = between_variance / (between_variance + variance[index])
        gain = weight * mean[index] + (1.0 - weight) * center
        posterior_variance = weight * variance[index] + (1.0 - weight) ** 2 * center_variance
        half_width = Z_SCORE_95 * math.sqrt(posterior_variance)
        table.append(
            ClassGain(
                name,
                counts[index],
                float(gain),
                float(max(-1.0, gain - half_width)),
                float(min(1.0, gain + half_width)),
            )
        )
    return tuple(table)


def _between_class_variance(means: Floats, variances: Floats) -> float:
    """Return τ² by the method of moments, or 0 if the classes differ no more than by chance."""
    if len(means) < 2:
        return 0.0
    weights = 1.0 / variances
    center = float((weights * means).sum() / weights.sum())
    excess = float((weights * (means - center) ** 2).sum()) - (len(means) - 1)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    return max(0.0, excess / scale)
