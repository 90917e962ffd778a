"""Scores how far the passages in its prompt support an answer.

Scope: the measure. Out of scope: finding passages (`retrieval/retrieval.py`).

The support of a sentence combines the share of its distinctive words (four letters or more, and
every number) that one passage contains, and, for paraphrases, its similarity to the nearest passage
sentence. Word overlap with the source: Maynez et al., 2020,
https://aclanthology.org/2020.acl-main.173. It detects invented names and numbers, not wrong logic.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from twin_resources.quality.judges.judge import Embed, JudgedAnswer, clip, digest, embed_once
from twin_resources.quality.judges.judge_kind import JudgeKind

if TYPE_CHECKING:
    import numpy as np

SUPPORT_VERSION = "support-1"
# Cosines of the embedded embedder: near .35 within one subject, above .75 for paraphrases.
UNRELATED, PARAPHRASE = 0.35, 0.8
LEXICAL = 0.7  # weight of the words; an embedding does not detect a changed number
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+(?=\s|$)|\n|$)")
_TELLING = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]{4,}")


def sentences(text: str) -> list[str]:
    """Return the sentences with at least one distinctive word."""
    texts = (span.strip() for span in sentence_spans(text))
    return [sentence for sentence in texts if telling_words(sentence)]


def sentence_spans(text: str) -> list[str]:
    """Cut a text at the start of each sentence; the parts joined are the text."""
    begins = [match.start() for match in _SENTENCE.finditer(text) if match[0].strip()]
    if not begins:
        return [text] if text else []
    cuts = [0, *begins[1:], len(text)]
    return [text[low:high] for low, high in pairwise(cuts)]


def telling_words(text: str) -> frozenset[str]:
    """Return the distinctive words: numbers, and words of four letters or more, case folded."""
    return frozenset(word.casefold() for word in _TELLING.findall(text))


class SupportJudge:
    """Scores the mean support of an answer's sentences by its passages."""

    name = "support"
    claim = "support"

    def __init__(self, embed: Embed, *, embedder: str) -> None:
        self.revision = digest(SUPPORT_VERSION, embedder, UNRELATED, PARAPHRASE, LEXICAL)
        self._embed = embed

    def score_all(self, answered: Sequence[JudgedAnswer]) -> list[float]:
        """Return the scores in order; 0 for an answer without passages or distinctive words."""
        with_passages = [one for one in answered if one.passages]
        texts = [
            sentence
            for with_passage in with_passages
            for sentence in sentences(with_passage.answer)
        ]
        texts += [
            part
            for with_passage in with_passages
            for text in with_passage.passages
            for part in sentences(text)
        ]
        vectors = embed_once(self._embed, texts)
        return [_support(one, vectors) for one in answered]


def _support(one: JudgedAnswer, vectors: Mapping[str, np.ndarray]) -> float:
    spoken = sentences(one.answer)
    scores = support_by_sentence(spoken, one.passages, vectors)
    return clip(sum(scores) / len(spoken)) if spoken else 0.0


def support_by_sentence(
    spoken: Sequence[str], passages: Sequence[str], vectors: Mapping[str, np.ndarray]
) -> list[float]:
    """Return the support of each sentence in order; all 0 without passages.

    Args:
        spoken: the answer's sentences, from `sentences`.
        vectors: sentence → vector, for the answer and the passages.
    """
    parted = [parts for text in passages if (parts := sentences(text))]
    if not parted:
        return [0.0] * len(spoken)
    words = [telling_words(" ".join(parts)) for parts in parted]
    shown = [part for parts in parted for part in parts]
    scores: list[float] = []
    for sentence in spoken:
        telling = telling_words(sentence)
        lexical = max(len(telling & held) for held in words) / len(telling)
        nearest = max(float(vectors[sentence] @ vectors[part]) for part in shown)
        close = clip((nearest - UNRELATED) / (PARAPHRASE - UNRELATED))
        scores.append(LEXICAL * lexical + (1.0 - LEXICAL) * close)
    return scores


# It only vetoes, because an author's own answers rely on more than the retrieved passages.
SUPPORT = JudgeKind(
    "support",
    ("unsupported",),
    "vetoes",
    lambda _, needs: SupportJudge(needs.embed, embedder=needs.embedder),
)
