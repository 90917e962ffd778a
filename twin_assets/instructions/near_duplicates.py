"""Which texts say nearly the same.

Belongs here: sets of words or word sequences, sketches of them, and the pairs that overlap.
Does not belong here: what follows from a pair (`splits.py`, `leakage.py`).

Methods: Jaccard similarity of shingles, bottom-k sketches (Broder 1997, https://doi.org/10.1109/
SEQUEN.1997.666900); all pairs above a threshold by prefix filtering (Bayardo, Ma and Srikant 2007,
https://doi.org/10.1145/1242572.1242591), which is exact and does not look at pairs that share
nothing rare.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’][^\W_]+)*"
)
_MODULUS = (1 << 61) - 1  # a prime: sums of products of 61-bit numbers stay well mixed
_FACTOR = 1_000_003_000_033

T = TypeVar("T", bound=Hashable)


def words_of(text: str) -> list[str]:
    """Words in small letters, without punctuation; a Chinese or Japanese character is a word."""
    return _WORD.findall(text.lower())


def shingles(text: str, *, width: int) -> frozenset[int]:
    """Hashes of all runs of `width` words; a shorter text is one run. Equal on every machine."""
    numbers = [_number(word) for word in words_of(text)]
    if not numbers:
        return frozenset()
    last = max(1, len(numbers) - width + 1)
    found: set[int] = set()
    for start in range(last):
        value = 0
        for number in numbers[start : start + width]:
            value = (value * _FACTOR + number) % _MODULUS
        found.add(value)
    return frozenset(found)


@lru_cache(maxsize=100_000)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=7).digest()) + 1


def sketch(elements: Set[int], *, size: int) -> list[int]:
    """The `size` smallest elements, in order: a uniform sample that two sets share."""
    return heapq.nsmallest(size, elements)


def sketched_similarity(left: Sequence[int], right: Sequence[int], *, size: int) -> float:
    """Estimate of the Jaccard similarity from two sketches of `size`; exact when both are whole."""
    union = heapq.nsmallest(size, set(left) | set(right))
    return len(set(left).intersection(right).intersection(union)) / len(union) if union else 0.0


def jaccard(left: Set[Hashable], right: Set[Hashable]) -> float:
    """Shared elements over all elements; 0 for two empty sets."""
    union = len(left | right)
    return len(left & right) / union if union else 0.0


@dataclass(frozen=True)
class Pair:
    """Two keys whose sets overlap by `similarity`."""

    left: str
    right: str
    similarity: float


def similar_pairs(
    left: Mapping[str, Set[T]], right: Mapping[str, Set[T]], *, threshold: float
) -> Iterator[Pair]:
    """Every pair of a left and a right set with a Jaccard similarity of at least `threshold`.

    Two sets that overlap so much share one of their rarest few elements; only those are indexed.
    Pairs come in the order of `left`, then `right`.
    """
    counts: Counter[T] = Counter()
    for sets in (left, right):
        for elements in sets.values():
            counts.update(elements)
    ranks = {element: rank for rank, (element, _) in enumerate(reversed(counts.most_common()))}

    def prefix(elements: Set[T]) -> list[T]:
        length = len(elements) - math.ceil(threshold * len(elements)) + 1
        return heapq.nsmallest(length, elements, key=ranks.__getitem__)

    index: dict[T, list[str]] = defaultdict(list)
    for key, elements in right.items():
        if elements:
            for element in prefix(elements):
                index[element].append(key)
    places = {key: place for place, key in enumerate(right)}
    for key, elements in left.items():
        if not elements:
            continue
        candidates = {other for element in prefix(elements) for other in index.get(element, ())}
        for other in sorted(candidates, key=places.__getitem__):
            similarity = jaccard(elements, right[other])
            if similarity >= threshold:
                yield Pair(key, other, similarity)
