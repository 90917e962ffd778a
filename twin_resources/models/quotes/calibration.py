"""From which score on a quotation answers: learned from own sentences and from others'.

Belongs here: the threshold, the mean vector, and what they were learned from; pure.
Does not belong here: reading tables and embedding (`twin_assets/knowledge/quote_calibration.py`).

There are no readers' questions when posts have just been imported, so held-out sentences stand in
for them: a sentence of the author's is put as a question while every window that overlaps its own
is left out. What then is found has the subject and other words, as with a reader's question; a
sentence of another author's has neither. On the tuned half of tests/bench/questions the threshold
that 5 % of the held-out sentences stay below declined 7 % of the readers' own questions and 90 % of
foreign ones. This is the empirical quantile of split conformal prediction (Vovk et al. 2005;
Angelopoulos and Bates 2021, https://arxiv.org/abs/2107.07511): a question like a held-out sentence
is declined with probability at most 5 %.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CALIBRATION_VERSION = "1"
DECLINED_OWN = 0.05
DECLINED_FOREIGN = 0.95
FEWEST_OWN = 50
# Of MiniLM's cosines: between the thresholds of the three bundled authors (.30 to .32).
DEFAULT_THRESHOLD = 0.31
MOST_OWN = 400
MOST_FOREIGN = 400
FEWEST_WORDS_ASKED = 6


@dataclass(frozen=True)
class Calibration:
    """From which score on quotations answer, and what that does to the questions it was learned by.

    Attributes:
        threshold: cosine of the best window; below it the author has not written about it.
        own, foreign: held-out sentences of the author, and sentences of others, that were asked.
        own_declined, foreign_declined: shares of them below the threshold; 0 without any.
    """

    threshold: float
    own: int
    own_declined: float
    foreign: int
    foreign_declined: float


def calibrate(own: Sequence[float], foreign: Sequence[float]) -> Calibration:
    """The threshold from the best scores of own and of foreign questions.

    Args:
        own: of each held-out sentence the best cosine among windows that do not overlap its own.
        foreign: of each sentence of another author the best cosine among all windows.

    Returns:
        The highest threshold that declines at most 5 % of `own`, but none above what declines 95 %
        of `foreign`, which would gain nothing. With fewer than 50 of `own`: `DEFAULT_THRESHOLD`.
    """
    if len(own) < FEWEST_OWN:
        threshold = DEFAULT_THRESHOLD
    else:
        ranked = sorted(own)
        # At most a share δ of n + 1 exchangeable scores lies below the ⌊δ(n + 1)⌋-th smallest of n.
        place = max(1, math.floor(DECLINED_OWN * (len(ranked) + 1)))
        threshold = ranked[place - 1]
        if foreign:
            enough = sorted(foreign)[math.ceil(DECLINED_FOREIGN * len(foreign)) - 1]
            threshold = min(threshold, math.nextafter(enough, math.inf))
    return Calibration(
        threshold=threshold,
        own=len(own),
        own_declined=_below(own, threshold),
        foreign=len(foreign),
        foreign_declined=_below(foreign, threshold),
    )


def best_scores(
    vectors: np.ndarray, windows: np.ndarray, *, left_out: Sequence[Sequence[int]] = ()
) -> list[float]:
    """The best cosine of each question among the windows.

    Args:
        vectors: unit vectors, shape (questions, dimension).
        windows: unit vectors, shape (windows, dimension).
        left_out: for each question the places of windows that it may not find.

    Returns:
        One score a question; questions that may find no window are left out.
    """
    import numpy as np

    highest: list[float] = []
    for number, vector in enumerate(vectors):
        scores = np.einsum("ij,j->i", windows, vector)
        if left_out:
            scores[list(left_out[number])] = -np.inf
        if scores.size and np.isfinite(best := float(scores.max())):
            highest.append(best)
    return highest


def drawn(names: Sequence[str], most: int) -> list[int]:
    """Places of at most so many names, drawn by their hash: an edit elsewhere changes no draw."""
    order = sorted(
        range(len(names)), key=lambda place: hashlib.sha256(names[place].encode()).digest()
    )
    return sorted(order[:most])


def _below(scores: Sequence[float], threshold: float) -> float:
    return sum(score < threshold for score in scores) / len(scores) if scores else 0.0
