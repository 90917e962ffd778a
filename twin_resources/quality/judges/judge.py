"""Define a judge: a named, versioned measure that scores an answer in [0, 1].

Scope: the interface of a judge, its input, and embedding each repeated text once.
Out of scope: the measures. A judge never receives the version, route or run of an answer.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

# Maps n texts to a float32 array of shape (n, dimension) with unit rows; see `Embedder.embed`.
Embed = Callable[[Sequence[str]], "np.ndarray"]


@dataclass(frozen=True)
class JudgedAnswer:
    """A question and an answer to score.

    Attributes:
        passages: the texts in the prompt, best first.
    """

    question: str
    answer: str
    passages: tuple[str, ...] = ()


class Judge(Protocol):
    """A measure of answers.

    Attributes:
        name: `topic`, `voice`, `support` or `general`.
        revision: a hash that changes with the code, calibration, model or prompt if scores could
            change. Scores are comparable only under the same name and revision.
        claim: the claim that the judge may decide once it is certified on the claim's negative
            probes (`judge_kind.py`).
    """

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def claim(self) -> str: ...

    def score_all(self, answers: Sequence[JudgedAnswer]) -> list[float]:
        """Return the scores in [0, 1], in order. No score depends on the other answers."""
        ...


def judge_id(judge: Judge) -> str:
    """Return `name@revision`, which identifies the stream, the score ids and the certificate."""
    return f"{judge.name}@{judge.revision}"


def digest(*parts: object) -> str:
    """Hash JSON values to 12 hexadecimal digits for a revision or a calibration's inputs."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:12]


def clip(value: float) -> float:
    """Limit a value to [0, 1]."""
    return min(1.0, max(0.0, value))


def cache_embeddings(embed: Embed) -> Embed:
    """Return a function that embeds each distinct text only once across calls."""
    import numpy as np

    vectors: dict[str, np.ndarray] = {}

    def embed_cached(texts: Sequence[str]) -> np.ndarray:
        new_texts = [text for text in dict.fromkeys(texts) if text not in vectors]
        if new_texts:
            vectors.update(zip(new_texts, embed(new_texts), strict=True))
        return np.stack([vectors[text] for text in texts])

    return embed_cached


def embed_distinct(embed: Embed, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Map each distinct text to its vector. A repeated text is embedded once."""
    distinct_texts = list(dict.fromkeys(texts))
    return dict(zip(distinct_texts, embed(distinct_texts), strict=True)) if distinct_texts else {}
