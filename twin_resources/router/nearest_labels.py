"""Explain a question's gain by the nearest labels and by labels with a similar predicted gain.

Scope: the lookups of nearest labels and of labels with a similar prediction.
Out of scope: the texts of the labels, which no policy contains.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_resources.router.class_table import Z_SCORE_95
from twin_resources.router.features import Floats

NEAREST_COUNT = 3
SIMILAR_COUNT = 100  # with this many labels, the mean is exact to a fifth of the spread


@dataclass(frozen=True)
class NearLabel:
    """A label near a question.

    Attributes:
        label_id: the id of the trace or sample that both models answered.
        cosine: the cosine of the two questions' vectors.
        gain: the judges' score of the paid model − that of the home's model.
    """

    label_id: str
    cosine: float
    gain: float


def nearest_labels(
    vector: Floats,
    vectors: NDArray[np.float32],
    *,
    label_ids: tuple[str, ...],
    gains: Floats,
) -> tuple[NearLabel, ...]:
    """Return the labels with the nearest questions, nearest first.

    Args:
        vector: the unit vector of the question, shape (dimension,).
        vectors: the vectors of the labels, shape (n, dimension).
        gains: the gains of the labels, shape (n,).
    """
    cosines = np.einsum("ij,j->i", vectors, vector.astype(np.float32))
    order: list[int] = np.argsort(-cosines, kind="stable")[:NEAREST_COUNT].tolist()
    return tuple(
        NearLabel(label_ids[index], float(cosines[index]), float(gains[index])) for index in order
    )


def gain_interval(predicted: float, cross_fitted: Floats, gains: Floats) -> tuple[float, float]:
    """Return the 95 % interval of the mean gain of questions with a similar prediction.

    It is the normal approximation for the `SIMILAR_COUNT` labels with the nearest cross-fitted
    predictions, or (−1, 1) without labels. The gain of a single question is far less certain.
    """
    if not len(gains):
        return -1.0, 1.0
    order = np.argsort(np.abs(cross_fitted - predicted), kind="stable")[:SIMILAR_COUNT]
    similar_gains = gains[order]
    spread = float(similar_gains.std(ddof=1)) if len(similar_gains) > 1 else 1.0
    half_width = Z_SCORE_95 * max(spread, 1e-3) / len(similar_gains) ** 0.5
    mean = float(similar_gains.mean())
    return max(-1.0, mean - half_width), min(1.0, mean + half_width)
