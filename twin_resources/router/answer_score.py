"""The score at hand of an own answer, by which a cascade asks again: cheap, and no judge's.

Belongs here: what can be told of an answer and its passages without a model, in .1 ms.
Does not belong here: judges (`twin_resources/quality/judges`), who certify what may follow from it,
the threshold (`cascade.py`).

Two signs of a weak answer of a small model: words that no passage holds, and loops.

    score = support · (1 − repeated)        both in [0, 1]

Support is lexical: the share of the answer's distinct longer words that stand in a passage of the
prompt; it sees invented names and numbers and no wrong logic. Word overlap against the source:
Maynez et al., 2020, https://aclanthology.org/2020.acl-main.173. Repeated is the share of its runs
of four words that stand in it before: Welleck et al., 2020, https://arxiv.org/abs/1908.04319,
seq-rep-4. The model's own mean log-probability would need llama.cpp to sort its 49,000 logits at
each token, for readers who mostly want none of it.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence

# The claim under which labels keep it, beside those of judges; another number, another formula.
AT_HAND = "at_hand_1"
_LONGER_WORD = re.compile(r"[^\W_]{4,}")  # shorter ones are mostly function words
_WORD = re.compile(r"[^\W_]+")
_RUN = 4


def support(answer: str, passages: str) -> float | None:
    """Share of the answer's distinct words of four letters and more that the passages hold, 0–1.

    None: the answer has no such word, or there are no passages.
    """
    words = set(_LONGER_WORD.findall(answer.lower()))
    if not words or not passages.strip():
        return None
    return len(words & set(_LONGER_WORD.findall(passages.lower()))) / len(words)


def repeated(answer: str) -> float:
    """Share of the answer's runs of four words that it has said before, 0–1."""
    words = _WORD.findall(answer.lower())
    runs = [tuple(words[n : n + _RUN]) for n in range(len(words) - _RUN + 1)]
    return 1.0 - len(set(runs)) / len(runs) if runs else 0.0


def answer_score(answer: str, passages: Sequence[str]) -> float:
    """The score at hand, in [0, 1]; 0 without passages or words.

    Args:
        answer: as the model wrote it.
        passages: texts of those in its prompt.
    """
    return (support(answer, "\n".join(passages)) or 0.0) * (1.0 - repeated(answer))
