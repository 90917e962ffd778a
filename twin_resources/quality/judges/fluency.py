"""Score whether an answer is fluent: long enough and without repeated phrases.

Scope: the formula. Out of scope: the subject of the text (`topic.py`).
Source for distinct n-grams: Li et al., 2016, https://aclanthology.org/N16-1014
"""
# pyright: strict

from __future__ import annotations

import re

from twin_resources.quality.judges.judge import clip

FULL_SCORE_WORDS = 25
# A repeated sentence has few distinct 3-grams; in prose of 60 words, over 95 % are distinct.
ZERO_SCORE_RATIO, FULL_SCORE_RATIO = 0.5, 0.9
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def fluency_score(text: str) -> float:
    """Return clip((distinct 3-gram ratio − .5)/.4) · clip(word count/25); 0 without words."""
    words = [word.casefold() for word in _WORD.findall(text)]
    return clip(
        (distinct_trigram_ratio(words) - ZERO_SCORE_RATIO) / (FULL_SCORE_RATIO - ZERO_SCORE_RATIO)
    ) * clip(len(words) / FULL_SCORE_WORDS)


def distinct_trigram_ratio(words: list[str]) -> float:
    """Return the share of distinct 3-grams; 1 if there is at most one 3-gram."""
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(trigrams)) / len(trigrams) if trigrams else 1.0
