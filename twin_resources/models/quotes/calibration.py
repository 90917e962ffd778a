"""Learn the score from which a passage answers, from own sentences and foreign questions.

Scope: the threshold, and the data that it was learned from; pure.
Out of scope: reading tables and embedding (`twin_assets/knowledge/quote_calibrating.py`).

No reader has asked anything when posts have just been imported. Held-out sentences replace readers'
questions: the author's sentence is used as a question while every passage that overlaps its own is
excluded. Foreign questions, which people asked other authors, are the negative examples. The
threshold is halfway between the medians of both, so it depends on no single question: some foreign
questions are about this author's subjects, and some sentences do not represent their post. It
declined 4 % of 100 own and 86 % of 50 foreign questions (tuning half of
tests/bench/reader_questions). With few sentences the nearest passage alone decides, and only the
foreign questions set the threshold, because embedders differ in the range of their cosines.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from twin_resources.models.quotes.quoter import DECIDING, MIN_PASSAGES, deciding_score

if TYPE_CHECKING:
    import numpy as np

CALIBRATION_VERSION = "6"
# Share of foreign questions to decline. In corpora of four posts MiniLM declined 5 % of 100 own and
# 82 % of 360 foreign ones, multilingual-e5-small 9 and 85 %. At .9: 6, 87; 14, 91 %.
FEW_DECLINE = 0.85
MAX_OWN = 400
MIN_WORDS_ASKED = 6


@dataclass(frozen=True)
class Calibration:
    """The threshold of the deciding score, and its effect on the questions it was learned from.

    Attributes:
        threshold: deciding score below which the author has not written about the subject.
        own, foreign: number of held-out sentences of the author, and of questions to others.
        own_declined, foreign_declined: share of them below the threshold; 0 if there are none.
    """

    threshold: float
    own: int
    own_declined: float
    foreign: int
    foreign_declined: float


def calibrate(
    own: Sequence[float], foreign: Sequence[float], foreign_nearest: Sequence[float]
) -> Calibration:
    """Compute the threshold from the scores of own sentences and foreign questions.

    Args:
        own: deciding score of each held-out sentence among passages that do not overlap its own.
        foreign: deciding score of each question to another author among all passages.
        foreign_nearest: score of the nearest passage alone for the same questions.

    Returns:
        The mean of both medians. With fewer than 50 of `own` the nearest passage decides, and 85 %
        of the questions to others are declined.
    """
    import numpy as np

    if len(own) >= MIN_PASSAGES:
        threshold = (median(own) + median(foreign)) / 2
    else:
        foreign = foreign_nearest
        threshold = float(np.quantile(foreign, FEW_DECLINE)) if len(foreign) else 0.0
    return Calibration(
        threshold=threshold,
        own=len(own),
        own_declined=_below(own, threshold),
        foreign=len(foreign),
        foreign_declined=_below(foreign, threshold),
    )


def deciding_scores(
    vectors: np.ndarray,
    passages: np.ndarray,
    *,
    left_out: Sequence[Sequence[int]] = (),
    most: int = DECIDING,
) -> list[float]:
    """Compute the score that decides whether the author has written about each question's subject.

    Args:
        vectors: unit vectors, shape (questions, dimension).
        passages: unit vectors, shape (passages, dimension).
        left_out: for each question, indexes of the passages to exclude.
        most: number of nearest passages to average.

    Returns:
        One score for each question that has at least one passage left.
    """
    import numpy as np

    scores: list[float] = []
    for number, vector in enumerate(vectors):
        cosines = np.einsum("ij,j->i", passages, vector)
        if left_out:
            cosines = np.delete(cosines, list(left_out[number]))
        if cosines.size:
            scores.append(deciding_score(cosines, most=most))
    return scores


def drawn(names: Sequence[str], most: int) -> list[int]:
    """Sample at most `most` indexes by the names' hashes, so that other edits change no sample."""
    order = sorted(
        range(len(names)), key=lambda place: hashlib.sha256(names[place].encode()).digest()
    )
    return sorted(order[:most])


def _below(scores: Sequence[float], threshold: float) -> float:
    return sum(score < threshold for score in scores) / len(scores) if scores else 0.0
