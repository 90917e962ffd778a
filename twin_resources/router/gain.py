"""The gain of a dearer model on a question: kernel ridge regression on the labels.

Scope: the kernel, the fit, predictions for new questions and, cross-fitted, for the labels.
Out of scope: what follows from a gain (`fixed_order.py`, `routing_decision.py`).

Sources: ridge regression in its dual form, Saunders, Gammerman and Vovk, ICML 1998; predictions for
a fold that was left out from one inverse, Pahikkala et al., "Fast n-fold cross-validation for
regularized least-squares", SCAI 2006. With the constant in the kernel, K = k + c, G = (K + λI)⁻¹
and a = G·y, what the labels outside a fold B say of it is

    ŷ_B = y_B − (G_BB)⁻¹ · a_B
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin_resources.errors import TwinError
from twin_resources.router.features import Floats

# exp(−γ·|x − x'|²). Vectors of length 1 are at most 2 apart: on MMLU .3, .5 and 1 were within .003.
GAMMA = 0.5
CONSTANT = 10.0  # in the kernel: the mean gain is hardly shrunk
# Chosen by the cross-fitted squared error. MMLU, 1,500 labels: APGR .627 at 1, .635, .645, .649 at
# 10; a clearer gain than MMLU's wants less.
RIDGES: tuple[float, ...] = (3.0, 10.0, 30.0)
FOLDS = 20


@dataclass(frozen=True)
class GainModel:
    """A fitted regression.

    Attributes:
        rows: features of the labels, float32 of shape (n, d).
        weights: float32 of shape (n, m): one column a dearer model.
        ridge: λ.
    """

    rows: NDArray[np.float32]
    weights: NDArray[np.float32]
    ridge: float

    def predict(self, rows: Floats) -> Floats:
        """Gains of questions over the own model, shape (n, m); features of shape (n, d)."""
        return kernel(rows, self.rows) @ self.weights.astype(np.float64)

    def predict_one(self, row: Floats) -> Floats:
        """Gains for one question, shape (m,): for the request path, half a millisecond.

        Not `@`: the threads of a matrix library wait for each other in a busy loop.
        """
        apart = self.rows - row.astype(np.float32)
        near = np.exp(-GAMMA * np.einsum("ij,ij->i", apart, apart)) + CONSTANT
        return np.einsum("i,ij->j", near.astype(np.float64), self.weights.astype(np.float64))


@dataclass(frozen=True)
class FittedGain:
    """A model, and what the labels outside a label's fold say of it.

    Attributes:
        cross_fitted: shape (n, m).
        error: mean squared error of those predictions.
    """

    model: GainModel
    cross_fitted: Floats
    error: float


def kernel(left: Floats, right: Floats | NDArray[np.float32]) -> Floats:
    """k(x, x') + c for every pair, shape (len(left), len(right))."""
    other = right.astype(np.float64)
    squares = (left * left).sum(1)[:, None] + (other * other).sum(1)[None] - 2.0 * left @ other.T
    return np.exp(-GAMMA * np.maximum(squares, 0.0)) + CONSTANT


def folds_of(groups: Sequence[str], *, folds: int = FOLDS) -> NDArray[np.int64]:
    """The fold of each label: labels of one group (a reader, a post) are left out together."""
    drawn = [int(hashlib.sha256(group.encode()).hexdigest()[:12], 16) % folds for group in groups]
    return np.asarray(drawn, np.int64)


def fit(
    rows: Floats,
    gains: Floats,
    folds: NDArray[np.int64],
    *,
    ridges: Sequence[float] = RIDGES,
) -> FittedGain:
    """Fit the gains of one or several dearer models.

    Args:
        rows: features, shape (n, d).
        gains: dearer − own on the same question, shape (n, m), in [−1, 1].
        folds: `folds_of`.

    Raises:
        TwinError: no label, arrays that do not belong together, or a number that is none.
    """
    if not len(rows) or len(rows) != len(gains) or len(rows) != len(folds):
        raise TwinError(
            "fit a router",
            found=f"{len(rows)} questions, {len(gains)} gains, {len(folds)} folds",
            next_step="pass a row, a gain and a fold for every label",
        )
    if not (np.isfinite(rows).all() and np.isfinite(gains).all()):
        raise TwinError(
            "fit a router",
            found="a feature or a gain that is no number",
            next_step="leave such labels out",
        )
    best: FittedGain | None = None
    # One thread: those of a matrix library wait for each other in a busy loop, and beside other
    # work on two cores 600 labels took 9 s instead of .1.
    with _one_thread():
        for ridge in ridges:
            tried = _fitted(rows, gains, folds, ridge)
            if best is None or tried.error < best.error:
                best = tried
    if best is None:
        raise TwinError(
            "fit a router", found="no ridge to try", next_step="name at least one λ above 0"
        )
    return best


def _fitted(rows: Floats, gains: Floats, folds: NDArray[np.int64], ridge: float) -> FittedGain:
    inverse = np.linalg.inv(kernel(rows, rows) + ridge * np.eye(len(rows)))
    weights = inverse @ gains
    left_out = np.empty_like(gains)
    for fold in np.unique(folds):
        mine = np.flatnonzero(folds == fold)
        block = inverse[np.ix_(mine, mine)]
        left_out[mine] = gains[mine] - np.linalg.solve(block, weights[mine])
    error = float(np.mean((left_out - gains) ** 2))
    model = GainModel(rows.astype(np.float32), weights.astype(np.float32), ridge)
    return FittedGain(model, left_out, error)


def _one_thread() -> AbstractContextManager[object]:
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)
