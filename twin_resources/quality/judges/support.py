"""Score how well an answer is supported by the passages in its prompt.

Scope: the measure.
Out of scope: finding passages (`retrieval/retrieval.py`).

The support of a sentence combines two values. The first is the share of its distinctive words
(four letters or more, and every number) that one passage contains. The second, for paraphrases, is
its similarity to the nearest passage sentence. The measure detects invented names and numbers, but
not faulty reasoning. Word overlap with the source: Maynez et al., 2020,
https://aclanthology.org/2020.acl-main.173
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from twin_resources.quality.judges.judge import Embed, JudgedAnswer, clip, digest, embed_distinct
from twin_resources.quality.judges.judge_kind import JudgeKind

if TYPE_CHECKING:
    import numpy as np

SUPPORT_VERSION = "support-1"
# The bundled embedder's cosines are near .35 within one subject and above .75 for paraphrases.
UNRELATED_COSINE, PARAPHRASE_COSINE = 0.35, 0.8
LEXICAL_WEIGHT = 0.7  # high, because an embedding does not detect a changed number
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+(?=\s|$)|\n|$)")
_DISTINCTIVE_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]{4,}")


def split_sentences(text: str) -> list[str]:
    """Return the sentences with at least one distinctive word."""
    spans = (span.strip() for span in sentence_spans(text))
    return [span for span in spans if distinctive_words(span)]


def sentence_spans(text: str) -> list[str]:
    """Cut a text at the start of each sentence. Joining the parts restores the text."""
    starts = [match.start() for match in _SENTENCE.finditer(text) if match[0].strip()]
    if not starts:
        return [text] if text else []
    cuts = [0, *starts[1:], len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


def distinctive_words(text: str) -> frozenset[str]:
    """Return the distinctive words: numbers, and words of four letters or more, case folded."""
    return frozenset(word.casefold() for word in _DISTINCTIVE_WORD.findall(text))


class SupportJudge:
    """Scores an answer by the mean support of its sentences."""

    name = "support"
    claim = "support"

    def __init__(self, embed: Embed, *, embedder: str) -> None:
        self.revision = digest(
            SUPPORT_VERSION, embedder, UNRELATED_COSINE, PARAPHRASE_COSINE, LEXICAL_WEIGHT
        )
        self._embed = embed

    def score_all(self, answers: Sequence[JudgedAnswer]) -> list[float]:
        """Return the scores in order; 0 for an answer without passages or distinctive words."""
        answers_with_passages = [answer for answer in answers if answer.passages]
        texts = [
            sentence
            for answer in answers_with_passages
            for sentence in split_sentences(answer.answer)
        ]
        texts += [
            sentence
            for answer in answers_with_passages
            for text in answer.passages
            for sentence in split_sentences(text)
        ]
        vectors = embed_distinct(self._embed, texts)
        return [_score_answer(answer, vectors) for answer in answers]


def _score_answer(judged_answer: JudgedAnswer, vectors: Mapping[str, np.ndarray]) -> float:
    answer_sentences = split_sentences(judged_answer.answer)
    scores = support_by_sentence(answer_sentences, judged_answer.passages, vectors)
    return clip(sum(scores) / len(answer_sentences)) if answer_sentences else 0.0


def support_by_sentence(
    answer_sentences: Sequence[str], passages: Sequence[str], vectors: Mapping[str, np.ndarray]
) -> list[float]:
    """Return the support of each sentence in order; all 0 without passages.

    Args:
        answer_sentences: the answer's sentences, from `split_sentences`.
        vectors: sentence → vector, for the answer and the passages.
    """
    sentences_by_passage = [parts for text in passages if (parts := split_sentences(text))]
    if not sentences_by_passage:
        return [0.0] * len(answer_sentences)
    words_by_passage = [
        distinctive_words(" ".join(sentences)) for sentences in sentences_by_passage
    ]
    passage_sentences = [part for parts in sentences_by_passage for part in parts]
    scores: list[float] = []
    for sentence in answer_sentences:
        sentence_words = distinctive_words(sentence)
        word_overlap = max(
            len(sentence_words & passage_words) for passage_words in words_by_passage
        ) / len(sentence_words)
        best_cosine = max(float(vectors[sentence] @ vectors[part]) for part in passage_sentences)
        similarity = clip((best_cosine - UNRELATED_COSINE) / (PARAPHRASE_COSINE - UNRELATED_COSINE))
        scores.append(LEXICAL_WEIGHT * word_overlap + (1.0 - LEXICAL_WEIGHT) * similarity)
    return scores


# The judge only vetoes, because an author's own answers rely on more than the retrieved passages.
SUPPORT = JudgeKind(
    "support",
    ("unsupported",),
    "vetoes",
    lambda _, dependencies: SupportJudge(
        dependencies.embed, embedder=dependencies.embedder_revision
    ),
)
