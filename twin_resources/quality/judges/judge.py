"""What a judge is: a named, versioned measure that scores an answer in [0, 1].

Scope: the interface, the answer as a judge is shown it, scoring texts that repeat once.
Out of scope: any measure. A judge never sees which version, route or run an answer is of.
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

# n texts → float32 of shape (n, dimension), rows of length 1; `Embedder.embed` is one.
Embed = Callable[[Sequence[str]], "np.ndarray"]


@dataclass(frozen=True)
class JudgedAnswer:
    """All that a judge is shown.

    Attributes:
        passages: texts that the prompt held, best first.
    """

    question: str
    answer: str
    passages: tuple[str, ...] = ()


class Judge(Protocol):
    """A measure of answers.

    Attributes:
        name: `topic`, `voice`, `support`, or a language model's name.
        revision: changes whenever a score could: code, calibration, model or prompt. A score is
            only comparable with scores of the same name and revision.
        claim: what it may decide, once it is certified on the plants of that claim
            (`judge_kind.py`).
    """

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def claim(self) -> str: ...

    def score_all(self, answered: Sequence[JudgedAnswer]) -> list[float]:
        """Scores in [0, 1], in order; one answer's does not depend on the others."""
        ...


def identity(judge: Judge) -> str:
    """`name@revision`: names the stream, the score ids and the certificate."""
    return f"{judge.name}@{judge.revision}"


def digest(*parts: object) -> str:
    """12 hexadecimal digits over JSON values: a revision, or the hash of a calibration's inputs."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:12]


def clip(value: float) -> float:
    """The value moved into [0, 1]."""
    return min(1.0, max(0.0, value))


def embed_each_once(embed: Embed) -> Embed:
    """The same, and what was embedded before is not embedded again."""
    import numpy as np

    known: dict[str, np.ndarray] = {}

    def embed_new(texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, embed(new), strict=True))
        return np.stack([known[text] for text in texts])

    return embed_new


def embed_once(embed: Embed, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Vectors by text; a text that occurs twice is embedded once."""
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, embed(distinct), strict=True)) if distinct else {}
