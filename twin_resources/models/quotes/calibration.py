"""Learn the minimum score of an answer from the author's sentences and foreign questions.

Scope: the threshold, and the data from which it is learned, without input or output.
Out of scope: reading tables and embedding (`twin_assets/knowledge/quote_calibration_rows.py`).

After an import, no reader has asked a question yet. The author's own sentences therefore serve as
questions, and passages that overlap the sentence are excluded. Foreign questions, which readers
asked other authors, are the negative examples. Some of them are about this author's subjects, and
some sentences do not represent their post. The threshold is therefore halfway between the two
medians, so that no single question determines it. It declined 4 % of 100 questions to the author
and 86 % of 50 foreign questions (tuning half of tests/bench/reader_questions). If there are few
sentences, only the nearest passage is scored. The foreign questions alone then set the threshold,
because embedders differ in the range of their cosines.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from twin_resources.models.quotes.quoter import MIN_PASSAGES, RELEVANCE_PASSAGES, relevance_score

if TYPE_CHECKING:
    import numpy as np

CALIBRATION_VERSION = "6"
# The share of foreign questions to decline. In corpora of four posts, MiniLM declined 5 % of 100
# questions to the author and 82 % of 360 foreign questions; multilingual-e5-small declined 9 % and
# 85 %. With a share of .9, the figures are 6 % and 87 % for MiniLM, and 14 % and 91 % for e5.
FEW_SENTENCES_DECLINE_SHARE = 0.85
MAX_OWN_SENTENCES = 400
MIN_QUESTION_WORDS = 6


@dataclass(frozen=True)
class Calibration:
    """The threshold of the relevance score, and its effect on the calibration questions.

    Attributes:
        threshold: score below which the author has not written about the subject.
        own, foreign: numbers of the author's sentences and of questions to other authors.
        own_declined, foreign_declined: shares of them below the threshold; 0 if there are none.
    """

    threshold: float
    own: int
    own_declined: float
    foreign: int
    foreign_declined: float


def calibrate(
    own_scores: Sequence[float],
    foreign_scores: Sequence[float],
    nearest_foreign_scores: Sequence[float],
) -> Calibration:
    """Compute the threshold from the scores of the author's sentences and foreign questions.

    Args:
        own_scores: relevance score of each sentence, among the passages that do not overlap it.
        foreign_scores: relevance score of each question to another author, among all passages.
        nearest_foreign_scores: score of the nearest passage alone for the same questions.

    Returns:
        The threshold, which is the mean of the two medians, and its effect. With fewer than 50
        `own_scores`, only the nearest passage counts, and the threshold declines 85 % of the
        foreign questions.
    """
    import numpy as np

    if len(own_scores) >= MIN_PASSAGES:
        threshold = (median(own_scores) + median(foreign_scores)) / 2
    else:
        foreign_scores = nearest_foreign_scores
        threshold = (
            float(np.quantile(foreign_scores, FEW_SENTENCES_DECLINE_SHARE))
            if len(foreign_scores)
            else 0.0
        )
    return Calibration(
        threshold=threshold,
        own=len(own_scores),
        own_declined=_share_below(own_scores, threshold),
        foreign=len(foreign_scores),
        foreign_declined=_share_below(foreign_scores, threshold),
    )


def relevance_scores(
    vectors: np.ndarray,
    passages: np.ndarray,
    *,
    excluded_passages: Sequence[Sequence[int]] = (),
    max_nearest: int = RELEVANCE_PASSAGES,
) -> list[float]:
    """Compute the score that decides whether the author has written about a question's subject.

    Args:
        vectors: unit vectors, shape (questions, dimension).
        passages: unit vectors, shape (passages, dimension).
        excluded_passages: indexes of the passages to exclude for each question.
        max_nearest: number of nearest passages to average.

    Returns:
        One score for each question with at least one passage that is not excluded.
    """
    import numpy as np

    scores: list[float] = []
    for index, vector in enumerate(vectors):
        cosines = np.einsum("ij,j->i", passages, vector)
        if excluded_passages:
            cosines = np.delete(cosines, list(excluded_passages[index]))
        if cosines.size:
            scores.append(relevance_score(cosines, max_cosines=max_nearest))
    return scores


def sample_indexes(names: Sequence[str], max_indexes: int) -> list[int]:
    """Return a stable sample of at most `max_indexes` indexes, chosen by the names' hashes."""
    order = sorted(
        range(len(names)), key=lambda index: hashlib.sha256(names[index].encode()).digest()
    )
    return sorted(order[:max_indexes])


def _share_below(scores: Sequence[float], threshold: float) -> float:
    return sum(score < threshold for score in scores) / len(scores) if scores else 0.0
