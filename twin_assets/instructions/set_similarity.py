"""Find texts with nearly the same content, as pairs of similar sets.

Scope: sketches of sets of words or word sequences, and the pairs that overlap. Out of scope: the
sets (`corpus/shingles.py`), the use of a pair (`splits.py`, `leakage.py`).

Methods: Jaccard similarity of shingles and bottom-k sketches (Broder 1997,
https://doi.org/10.1109/SEQUEN.1997.666900). All pairs above a threshold by prefix filtering
(Bayardo, Ma and Srikant 2007, https://doi.org/10.1145/1242572.1242591), which is exact and skips
pairs that share no rare element.
"""
# pyright: strict

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from typing import TypeVar

from twin_assets.corpus.shingles import jaccard

Element = TypeVar("Element", bound=Hashable)


def sketch(elements: Set[int], *, size: int) -> list[int]:
    """Return the `size` smallest elements in order, a uniform sample comparable between sets."""
    return heapq.nsmallest(size, elements)


def estimate_similarity(left: Sequence[int], right: Sequence[int], *, size: int) -> float:
    """Estimate the Jaccard similarity from two sketches of `size`; exact if both are complete."""
    union = heapq.nsmallest(size, set(left) | set(right))
    return len(set(left).intersection(right).intersection(union)) / len(union) if union else 0.0


def find_similar_pairs(
    left: Mapping[str, Set[Element]], right: Mapping[str, Set[Element]], *, threshold: float
) -> Iterator[tuple[str, str]]:
    """Yield the keys of all left and right sets with a Jaccard similarity of at least `threshold`.

    Two sets with such an overlap share one of their few rarest elements, so only these are indexed.
    Pairs are ordered by `left`, then `right`.
    """
    counts: Counter[Element] = Counter()
    for sets in (left, right):
        for elements in sets.values():
            counts.update(elements)
    ranks = {element: rank for rank, (element, _) in enumerate(reversed(counts.most_common()))}

    def select_rarest(elements: Set[Element]) -> list[Element]:
        length = len(elements) - math.ceil(threshold * len(elements)) + 1
        return heapq.nsmallest(length, elements, key=ranks.__getitem__)

    index: dict[Element, list[str]] = defaultdict(list)
    for key, elements in right.items():
        if elements:
            for element in select_rarest(elements):
                index[element].append(key)
    positions = {key: position for position, key in enumerate(right)}
    for key, elements in left.items():
        if not elements:
            continue
        candidates = {
            right_key for element in select_rarest(elements) for right_key in index.get(element, ())
        }
        for right_key in sorted(candidates, key=positions.__getitem__):
            if jaccard(elements, right[right_key]) >= threshold:
                yield key, right_key
