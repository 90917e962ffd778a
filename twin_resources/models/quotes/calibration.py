"""From which score on a passage answers: learned from own sentences and from others' questions.

Scope: the threshold, and what it was learned from; pure.
Out of scope: reading tables and embedding (`twin_assets/knowledge/quote_calibrating.py`).

There are no readers' questions when posts have just been imported. Held-out sentences stand in for
them: a sentence of the author's is put as a question while every passage that overlaps its own is
left out. Against them stand questions that other people asked other authors. The threshold lies
halfway between the medians of both, where it depends on no single question: some of those asked of
others are about what this author writes of, and some sentences say nothing of their post. On 100
own and 50 foreign questions (tuned half of tests/bench/reader_questions) it declined 4 and 86 %.
Few sentences say nothing. Then the nearest passage alone decides, and questions to others alone say
how near it must be, because embedders differ in what their cosines are.
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
# In corpora of four posts it declined 5 % of 100 own and 82 % of 360 foreign questions by MiniLM,
# 9 and 85 % by multilingual-e5-small; at .9: 6, 87; 14, 91 %.
FEW_DECLINE = 0.85
MAX_OWN = 400
MIN_WORDS_ASKED = 6


@dataclass(frozen=True)
class Calibration:
    """From which score on quotations answer, and what that does to the questions it was learned by.

    Attributes:
        threshold: of the deciding score; below it the author has not written about it.
        own, foreign: held-out sentences of the author, and questions to others, that were asked.
        own_declined, foreign_declined: shares of them below the threshold; 0 without any.
    """

    threshold: float
    own: int
    own_declined: float
    foreign: int
    foreign_declined: float


def calibrate(
    own: Sequence[float], foreign: Sequence[float], foreign_nearest: Sequence[float]
) -> Calibration:
    """The threshold from the scores of own sentences and of questions to others.

    Args:
        own: of each held-out sentence the deciding score among passages that do not overlap its
            own.
        foreign: of each question to another author the deciding score among all passages.
        foreign_nearest: of the same questions the score of the nearest passage alone.

    Returns:
        The mean of both medians; with fewer than 50 of `own` the nearest passage decides, and 85 %
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
    """Of each question what decides whether the author has written about it (`quoter`).

    Args:
        vectors: unit vectors, shape (questions, dimension).
        passages: unit vectors, shape (passages, dimension).
        left_out: for each question the places of passages that it may not find.
        most: of the nearest passages.

    Returns:
        One score a question; questions that may find no passage are left out.
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
    """Places of at most so many names, drawn by their hash: an edit elsewhere changes no draw."""
    order = sorted(
        range(len(names)), key=lambda place: hashlib.sha256(names[place].encode()).digest()
    )
    return sorted(order[:most])


def _below(scores: Sequence[float], threshold: float) -> float:
    return sum(score < threshold for score in scores) / len(scores) if scores else 0.0
