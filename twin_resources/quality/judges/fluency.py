"""Whether an answer is a text at all: no loop, and long enough to say something.

Scope: the rule. Out of scope: what the text is about (`topic.py`).
Distinct n-grams as a sign of repetition: Li et al., 2016, https://aclanthology.org/N16-1014
"""
# pyright: strict

from __future__ import annotations

import re

from twin_resources.quality.judges.judge import clip

ENOUGH_WORDS = 25
# A loop of one sentence has few distinct 3-grams; prose of 60 words has above .95.
ALL_REPEATED, NONE_REPEATED = 0.5, 0.9
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def fluent(text: str) -> float:
    """clip((distinct 3-grams − .5)/.4) · clip(words/25), in [0, 1]; 0 for an empty text."""
    words = [word.casefold() for word in _WORD.findall(text)]
    return clip((distinct_trigrams(words) - ALL_REPEATED) / (NONE_REPEATED - ALL_REPEATED)) * clip(
        len(words) / ENOUGH_WORDS
    )


def distinct_trigrams(words: list[str]) -> float:
    """Share of the runs of three words that are distinct; 1 when there is at most one."""
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(runs)) / len(runs) if runs else 1.0
