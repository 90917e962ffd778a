"""What explains one question's gain: the labels nearest to it, and those with a gain like it.

Scope: both look-ups. Out of scope: the texts of the labels, which no policy holds.
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_resources.router.class_table import TWO_SIDED
from twin_resources.router.features import Floats

NEAREST = 3
LIKE_IT = (
    100  # labels whose predictions lie nearest: their mean is known to about a fifth of spread
)


@dataclass(frozen=True)
class NearLabel:
    """A label near a question.

    Attributes:
        label_id: the trace or sample that was answered twice.
        cosine: of the two questions' vectors.
        gain: paid − own, as the judges scored it.
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
    count: int = NEAREST,
) -> tuple[NearLabel, ...]:
    """The labels whose questions lie nearest, nearest first.

    Args:
        vector: of length 1, shape (dimension,).
        vectors: of the labels, shape (n, dimension).
        gains: of the labels, shape (n,).
    """
    cosines = np.einsum("ij,j->i", vectors, vector.astype(np.float32))
    order: list[int] = np.argsort(-cosines, kind="stable")[:count].tolist()
    return tuple(NearLabel(label_ids[n], float(cosines[n]), float(gains[n])) for n in order)


def gain_interval(
    predicted: float, cross_fitted: Floats, gains: Floats, *, count: int = LIKE_IT
) -> tuple[float, float]:
    """95 % interval of the mean gain of questions that are predicted like this one.

    The mean of the `count` labels whose cross-fitted predictions lie nearest, by the normal
    approximation; what one single question gains is far less certain. Without labels (−1, 1).
    """
    if not len(gains):
        return -1.0, 1.0
    order = np.argsort(np.abs(cross_fitted - predicted), kind="stable")[:count]
    near = gains[order]
    spread = float(near.std(ddof=1)) if len(near) > 1 else 1.0
    half = TWO_SIDED * max(spread, 1e-3) / len(near) ** 0.5
    mean = float(near.mean())
    return max(-1.0, mean - half), min(1.0, mean + half)
