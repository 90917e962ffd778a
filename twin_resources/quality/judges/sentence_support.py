"""Score how well passages support a single sentence: the support score, or 0 for a departure.

The support score counts shared words and similarity, so `is not` supports `is`, and one wrong
number among twelve words lowers it by only a twelfth. A sentence that says something new or the
opposite (`repeated_words.py`) therefore scores 0.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from twin_resources.quality.judges.judge import Embed, digest, embed_distinct
from twin_resources.quality.judges.repeated_words import REPEATED_WORDS_VERSION, find_departure
from twin_resources.quality.judges.support import (
    LEXICAL_WEIGHT,
    PARAPHRASE_COSINE,
    SUPPORT_VERSION,
    UNRELATED_COSINE,
    distinctive_words,
    split_sentences,
    support_by_sentence,
)

if TYPE_CHECKING:
    import numpy as np

SENTENCE_SUPPORT_VERSION = "sentence-support-2"


class SentenceJudge(Protocol):
    """Scores sentences against passages in [0, 1]; a higher score means better support.

    Attributes:
        name: the displayed name.
        revision: a hash that changes whenever a score could change.
    """

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...

    def score(self, sentences_with_passages: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        """Return the scores of (sentence, passages) in order."""
        ...


class SentenceSupport:
    """The built-in judge, based on words, similarity, numbers, names and negations."""

    name = "support"

    def __init__(self, embed: Embed, *, embedder: str) -> None:
        self.revision = digest(
            SENTENCE_SUPPORT_VERSION,
            SUPPORT_VERSION,
            embedder,
            UNRELATED_COSINE,
            PARAPHRASE_COSINE,
            LEXICAL_WEIGHT,
            REPEATED_WORDS_VERSION,
        )
        self._embed = embed

    def score(self, sentences_with_passages: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        """Return the scores of (sentence, passages) in order; 0 for a sentence without passages."""
        texts = [sentence for sentence, _ in sentences_with_passages]
        texts += [
            passage_sentence
            for _, passages in sentences_with_passages
            for text in passages
            for passage_sentence in split_sentences(text)
        ]
        vectors = embed_distinct(self._embed, texts)
        return [
            _score_sentence(sentence, passages, vectors)
            for sentence, passages in sentences_with_passages
        ]


def _score_sentence(
    sentence: str, passages: Sequence[str], vectors: Mapping[str, np.ndarray]
) -> float:
    if not distinctive_words(sentence):
        return 0.0
    if not passages or find_departure(sentence, passages):
        return 0.0
    (score,) = support_by_sentence([sentence], passages, vectors)
    return score
