"""Whether an answer rests on the passages that it was given.

Scope: the measure. Out of scope: finding passages (`retrieval/retrieval.py`).

Sentence by sentence: the share of its telling words (four letters or more, and every number) that
one passage sentence or its neighbours hold, or, for a paraphrase, how close the nearest passage
sentence is. Word overlap against the source: Maynez et al., 2020,
https://aclanthology.org/2020.acl-main.173. It sees invented names and numbers, and no wrong logic.
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
# Of the embedded embedder: sentences of one subject lie near .35, paraphrases above .75.
UNRELATED, PARAPHRASE = 0.35, 0.8
LEXICAL = 0.7  # weight of the words; an embedding does not see a changed number
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+(?=\s|$)|\n|$)")
_TELLING = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]{4,}")


def sentences(text: str) -> list[str]:
    """Sentences with at least one telling word."""
    texts = (span.strip() for span in sentence_spans(text))
    return [sentence for sentence in texts if telling_words(sentence)]


def sentence_spans(text: str) -> list[str]:
    """The text cut where its sentences begin, white space kept; put together it is the text."""
    begins = [match.start() for match in _SENTENCE.finditer(text) if match[0].strip()]
    if not begins:
        return [text] if text else []
    cuts = [0, *begins[1:], len(text)]
    return [text[low:high] for low, high in pairwise(cuts)]


def telling_words(text: str) -> frozenset[str]:
    """Numbers, and words of four letters or more, case folded."""
    return frozenset(word.casefold() for word in _TELLING.findall(text))


class SupportJudge:
    """Mean support of an answer's sentences by its passages."""

    name = "support"
    claim = "support"

    def __init__(self, embed: Embed, *, embedder: str) -> None:
        self.revision = digest(SUPPORT_VERSION, embedder, UNRELATED, PARAPHRASE, LEXICAL)
        self._embed = embed

    def score_all(self, answered: Sequence[JudgedAnswer]) -> list[float]:
        """Scores in order; without passages, or without a telling word, nothing is supported: 0."""
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
    """Support of each sentence, in order; without passages all 0.

    Args:
        spoken: of `sentences`.
        vectors: of the sentences said and of every sentence of the passages.
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


# Vetoes alone: an author's own answers rest on more than the passages that were found.
SUPPORT = JudgeKind(
    "support",
    ("unsupported",),
    "vetoes",
    lambda _, needs: SupportJudge(needs.embed, embedder=needs.embedder),
)
