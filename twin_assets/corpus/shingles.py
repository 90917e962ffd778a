"""Turn texts into words or sets of hashed word sequences, and measure their overlap.

Scope: the basis for comparing texts. Out of scope: finding the pairs to compare
(`near_duplicates.py`, and `set_similarity.py` in `twin_assets/instructions`).

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
_MODULUS = (1 << 61) - 1  # a prime, so sums of products of 61-bit numbers stay well mixed
_FACTOR = 1_000_003_000_033


def split_words(text: str) -> list[str]:
    """Return lower-case words without punctuation; a Chinese or Japanese character is a word."""
    return _WORD.findall(text.lower())


def shingles(text: str, *, width: int) -> frozenset[int]:
    """Return the hashes of all sequences of `width` words; they are the same on every machine.

    A shorter text counts as one sequence.
    """
    word_hashes = [_hash_word(word) for word in split_words(text)]
    if not word_hashes:
        return frozenset()
    sequences = word_hashes[: max(1, len(word_hashes) - width + 1)]
    for offset in range(1, min(width, len(word_hashes))):
        following = word_hashes[offset:]
        sequences = [(sequence * _FACTOR + word) % _MODULUS
                     for sequence, word in zip(sequences, following, strict=False)]  # fmt: skip
    return frozenset(sequences)


def jaccard(left: Set[Hashable], right: Set[Hashable]) -> float:
    """Return the share of common elements among all elements, or 0 for two empty sets."""
    union = len(left | right)
    return len(left & right) / union if union else 0.0


@lru_cache(maxsize=100_000)
def _hash_word(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=7).digest()) + 1
