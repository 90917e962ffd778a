"""How far passages hold a single sentence: the support score, with what it does not see added.

Scope: the interface of a judge of sentences, and the one that needs no model of its own.
Out of scope: the score of a whole answer (`support.py`), an entailment model
(`entailment.py`), thresholds and what a judge is worth (`sentence_faithfulness.py` of the gate).

The support score counts shared words, so that `is not` supports `is` and one changed number among
twelve words costs a twelfth. Two rules are added: a number or name that no passage has, and a
sentence whose nearest passage sentence is negated where it is not (or the reverse).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from twin_resources.quality.judges.judge import Embed, digest, embed_once
from twin_resources.quality.judges.support import (
    LEXICAL,
    PARAPHRASE,
    SUPPORT_VERSION,
    UNRELATED,
    sentences,
    support_by_sentence,
    telling_words,
)

if TYPE_CHECKING:
    import numpy as np

VERSION = "sentence-support-1"
FOREIGN_PART = 0.5  # what a number or a name that no passage has leaves of the score
OTHER_POLARITY = 0.5  # what a negation on one side alone leaves of it
_NEGATIVE = re.compile(
    r"(?i)\b(?:not|never|cannot|no|nothing|nobody|none|neither|nor|without"
    r"|nicht|kein\w*|nie|niemals|nichts|pas|jamais|rien|aucun\w*|nunca|nada|ningún)\b|n['’]t\b"
)
_PARTS = re.compile(
    r"\d+(?:[.,]\d+)*|(?i:\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|fifteen|twenty|thirty|forty|fifty|sixty|eighty|ninety|hundred|thousand)\b)"
    r"|(?<=[a-z,;] )[A-Z][a-z]{3,}\b"
)


class SentenceJudge(Protocol):
    """Scores sentences in [0, 1] by passages; higher: better supported.

    Attributes:
        name: what people read.
        revision: changes whenever a score could.
    """

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...

    def score(self, held: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        """Scores of (sentence, passages), in order."""
        ...


class SentenceSupport:
    """The judge that every home has: words, nearness, numbers, names and negations."""

    name = "support"

    def __init__(self, embed: Embed, *, embedder: str) -> None:
        self.revision = digest(
            VERSION,
            SUPPORT_VERSION,
            embedder,
            UNRELATED,
            PARAPHRASE,
            LEXICAL,
            FOREIGN_PART,
            OTHER_POLARITY,
        )
        self._embed = embed

    def score(self, held: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        """Scores of (sentence, passages), in order; nothing is supported by no passage."""
        texts = [sentence for sentence, _ in held]
        texts += [part for _, passages in held for text in passages for part in sentences(text)]
        vectors = embed_once(self._embed, texts)
        return [_score(sentence, passages, vectors) for sentence, passages in held]


def _score(sentence: str, passages: Sequence[str], vectors: Mapping[str, np.ndarray]) -> float:
    if not telling_words(sentence):
        return 0.0
    (score,) = support_by_sentence([sentence], passages, vectors)
    shown = [part for text in passages for part in sentences(text)]
    if not shown:
        return 0.0
    text = " ".join(passages).casefold()
    parts = [match.casefold() for match in _PARTS.findall(sentence)]
    if any(not re.search(rf"\b{re.escape(part)}\b", text) for part in parts):
        score *= FOREIGN_PART
    nearest = max(shown, key=lambda part: float(vectors[sentence] @ vectors[part]))
    if bool(_NEGATIVE.search(sentence)) is not bool(_NEGATIVE.search(nearest)):
        score *= OTHER_POLARITY
    return score
