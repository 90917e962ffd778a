"""The gain by class of questions, for people: empirical Bayes, so that few labels say little.

Scope: the table and its intervals. Out of scope: deciding (`fixed_order.py`): by
classes alone MMLU's APGR is .51 to .53, where .50 is a lot.
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

TWO_SIDED = 1.96
# So many labels of the overall spread are mixed into a class's: three equal gains are no certainty.
_PSEUDO = 4.0


@dataclass(frozen=True)
class ClassGain:
    """A row of the table.

    Attributes:
        labels: of the class.
        gain: shrunk mean of paid − own.
        low, high: 95 % interval, in [−1, 1].
    """

    prompt_class: str
    labels: int
    gain: float
    low: float
    high: float


def class_table(classes: Sequence[str], gains: Sequence[float]) -> tuple[ClassGain, ...]:
    """The gain of each class that has labels, by name.

    Args:
        classes: of the labels.
        gains: of the labels, in [−1, 1].
    """
    values = np.asarray(gains, np.float64)
    if not len(values):
        return ()
    names = sorted(set(classes))
    named = np.asarray(classes)
    overall = float(values.var(ddof=1)) if len(values) > 1 else 1.0
    means: list[float] = []
    variances: list[float] = []
    counts: list[int] = []
    for name in names:
        mine = values[named == name]
        own = float(((mine - mine.mean()) ** 2).sum())
        spread = (own + _PSEUDO * overall) / (len(mine) - 1 + _PSEUDO)
        means.append(float(mine.mean()))
        variances.append(max(spread, 1e-6) / len(mine))
        counts.append(len(mine))
    mean, variance = np.asarray(means), np.asarray(variances)
    between = _between(mean, variance)
    weights = 1.0 / (variance + between)
    centre = float((weights * mean).sum() / weights.sum())
    of_centre = 1.0 / float(weights.sum())
    table: list[ClassGain] = []
    for number, name in enumerate(names):
        trust = between / (between + variance[number])
        gain = trust * mean[number] + (1.0 - trust) * centre
        known = trust * variance[number] + (1.0 - trust) ** 2 * of_centre
        half = TWO_SIDED * math.sqrt(known)
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


def _between(means: Floats, variances: Floats) -> float:
    """τ² by the method of moments; 0 when the classes differ no more than chance does."""
    if len(means) < 2:
        return 0.0
    weights = 1.0 / variances
    centre = float((weights * means).sum() / weights.sum())
    excess = float((weights * (means - centre) ** 2).sum()) - (len(means) - 1)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    return max(0.0, excess / scale)
