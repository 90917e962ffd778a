"""Scores whether an answer is fluent: long enough and without loops.

Scope: the rule. Out of scope: the subject of the text (`topic.py`).
Source for distinct n-grams: Li et al., 2016, https://aclanthology.org/N16-1014
"""
# pyright: strict

from __future__ import annotations

import re

from twin_resources.quality.judges.judge import clip

ENOUGH_WORDS = 25
# A loop of one sentence has few distinct 3-grams; in prose of 60 words, over .95 are distinct.
ALL_REPEATED, NONE_REPEATED = 0.5, 0.9
_WORD = re.compile(r"\w+(?:['’]\w+)*")


def fluency_score(text: str) -> float:
    """Return clip((distinct 3-grams − .5)/.4) · clip(words/25), in [0, 1]; 0 without words."""
    words = [word.casefold() for word in _WORD.findall(text)]
    return clip(
        (distinct_trigram_ratio(words) - ALL_REPEATED) / (NONE_REPEATED - ALL_REPEATED)
    ) * clip(len(words) / ENOUGH_WORDS)


def distinct_trigram_ratio(words: list[str]) -> float:
    """Return the share of distinct runs of three words; 1 if there is at most one run."""
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(runs)) / len(runs) if runs else 1.0
