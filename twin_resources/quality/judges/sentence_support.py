"""Score how well passages support a single sentence: the support score with two more rules.

Scope: the interface of a sentence judge, and the built-in judge, which has no model of its own.
Out of scope: the score of a whole answer (`support.py`), an entailment model
(`entailment.py`), thresholds and the quality of a judge (the gate's `sentence_faithfulness.py`).

The support score counts shared words, so `is not` supports `is`, and one wrong number among twelve
words lowers the score by only a twelfth. Two rules lower it further. The first applies if the
sentence has a number or name that no passage contains. The second applies if the sentence is
negated and the nearest passage sentence is not, or the reverse.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from twin_resources.quality.judges.judge import Embed, digest, embed_distinct
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

SENTENCE_SUPPORT_VERSION = "sentence-support-1"
UNSUPPORTED_TERM_FACTOR = 0.5  # factor for a number or name that no passage contains
POLARITY_MISMATCH_FACTOR = 0.5  # factor for a negation in only one of the two sentences
_NEGATION = re.compile(
    r"(?i)\b(?:not|never|cannot|no|nothing|nobody|none|neither|nor|without"
    r"|nicht|kein\w*|nie|niemals|nichts|pas|jamais|rien|aucun\w*|nunca|nada|ningún)\b|n['’]t\b"
)
_NUMBERS_AND_NAMES = re.compile(
    r"\d+(?:[.,]\d+)*|(?i:\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|fifteen|twenty|thirty|forty|fifty|sixty|eighty|ninety|hundred|thousand)\b)"
    r"|(?<=[a-z,;] )[A-Z][a-z]{3,}\b"
)


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
            UNSUPPORTED_TERM_FACTOR,
            POLARITY_MISMATCH_FACTOR,
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
    (score,) = support_by_sentence([sentence], passages, vectors)
    passage_sentences = [
        passage_sentence for text in passages for passage_sentence in split_sentences(text)
    ]
    if not passage_sentences:
        return 0.0
    text = " ".join(passages).casefold()
    terms = [match.casefold() for match in _NUMBERS_AND_NAMES.findall(sentence)]
    if any(not re.search(rf"\b{re.escape(term)}\b", text) for term in terms):
        score *= UNSUPPORTED_TERM_FACTOR
    nearest_sentence = max(
        passage_sentences, key=lambda part: float(vectors[sentence] @ vectors[part])
    )
    if bool(_NEGATION.search(sentence)) is not bool(_NEGATION.search(nearest_sentence)):
        score *= POLARITY_MISMATCH_FACTOR
    return score
