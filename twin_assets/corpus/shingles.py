"""Texts as sets: words, runs of words as numbers, and how much two sets share.

Scope: what every comparison of texts rests on. Out of scope: finding the pairs to
compare (`near_duplicates.py` here and in `twin_assets/instructions`).

Method: Jaccard similarity of shingles (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Set
from functools import lru_cache

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’][^\W_]+)*"
)
_MODULUS = (1 << 61) - 1  # a prime: sums of products of 61-bit numbers stay well mixed
_FACTOR = 1_000_003_000_033


def words_of(text: str) -> list[str]:
    """Words in small letters, without punctuation; a Chinese or Japanese character is a word."""
    return _WORD.findall(text.lower())


def shingles(text: str, *, width: int) -> frozenset[int]:
    """Hashes of all runs of `width` words; a shorter text is one run. Equal on every machine."""
    numbers = [_number(word) for word in words_of(text)]
    if not numbers:
        return frozenset()
    last = max(1, len(numbers) - width + 1)
    hashes: set[int] = set()
    for start in range(last):
        value = 0
        for number in numbers[start : start + width]:
            value = (value * _FACTOR + number) % _MODULUS
        hashes.add(value)
    return frozenset(hashes)


def jaccard(left: Set[Hashable], right: Set[Hashable]) -> float:
    """Shared elements over all elements; 0 for two empty sets."""
    union = len(left | right)
    return len(left & right) / union if union else 0.0


@lru_cache(maxsize=100_000)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=7).digest()) + 1
