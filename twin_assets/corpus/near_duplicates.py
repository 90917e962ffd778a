"""Find an author's near-duplicate texts with MinHash bands, verify them, and choose what is kept.

Methods: MinHash (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900) with datasketch's
permutations (https://ekzhu.com/datasketch/minhash.html); banding: Leskovec, Rajaraman and Ullman,
Mining of Massive Datasets, 3.4 (http://infolab.stanford.edu/~ullman/mmds/ch3.pdf).

Two texts with similarity s share at least one of b bands of r rows with probability
1 - (1 - s^r)^b. The bands should find 95 % of the pairs at s = .65, the lowest similarity that
counts.

    b x r      s = .65    s = .75    s = .3     s = .1
    14 x 8       .365       .772      .0009     .0000
    20 x 5       .915       .996      .048      .0002
    24 x 4       .991       .9999     .177      .0024
    48 x 4       .9999     1.0000     .324      .0048

24 x 4 misses 1 % of the pairs at this threshold and almost none above it. Each false candidate
costs one exact comparison. For an author's posts that are not copies, s is near 0.
"""
# pyright: strict

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import combinations
from typing import Any

from twin_assets.corpus.shingles import jaccard, shingles

MIN_SIMILARITY = 0.65
"""Texts with at least this Jaccard similarity of three-word sequences are copies of each other."""

SHINGLE_WORDS = 3
BAND_COUNT, ROWS_PER_BAND = 24, 4
_SEED = 20_260_801


def find_similar_texts(texts: Mapping[str, str]) -> dict[tuple[str, str], float]:
    """Return the similarity of each pair of names whose texts are copies, the smaller name first.

    A text without words has no copies.
    """
    sets = {name: shingles(text, width=SHINGLE_WORDS) for name, text in texts.items()}
    sets = {name: elements for name, elements in sets.items() if elements}
    similarities = (
        (pair, jaccard(sets[pair[0]], sets[pair[1]])) for pair in sorted(find_candidate_pairs(sets))
    )
    return {pair: similarity for pair, similarity in similarities if similarity >= MIN_SIMILARITY}


def find_candidate_pairs(sets: Mapping[str, frozenset[int]]) -> set[tuple[str, str]]:
    """Return the pairs of names whose sets (none of them empty) share a band."""
    minhash: Any = import_module("datasketch").MinHash
    signatures: Iterable[Any] = minhash.generator(
        (list(elements) for elements in sets.values()),  # numpy accepts lists, not sets
        num_perm=BAND_COUNT * ROWS_PER_BAND,
        seed=_SEED,  # the same pairs in every process
        hashfunc=int,
        scheme="affine64",
    )
    names_by_band: dict[tuple[int, bytes], list[str]] = defaultdict(list)
    for name, signature in zip(sets, signatures, strict=True):
        for number, band in enumerate(signature.hashvalues.reshape(BAND_COUNT, ROWS_PER_BAND)):
            names_by_band[number, band.tobytes()].append(name)
    return {pair for names in names_by_band.values() for pair in combinations(sorted(names), 2)}


def collapse_copies(
    ranks: Mapping[str, tuple[Any, ...]], pairs: Mapping[tuple[str, str], float]
) -> dict[str, str]:
    """Map each removed document to the kept copy that replaces it.

    Documents are processed by ascending rank. A document is kept unless it is similar to a kept
    document. Kept documents are therefore not similar to each other, and each removed document is
    similar to its replacement.

    Args:
        ranks: a sort key of each document; documents with lower keys are processed first.
        pairs: the similarity of each pair.
    """
    similarities: dict[str, dict[str, float]] = defaultdict(dict)
    for (left, right), similarity in pairs.items():
        similarities[left][right] = similarities[right][left] = similarity
    kept_ids: set[str] = set()
    replacements: dict[str, str] = {}
    for document_id in sorted(similarities, key=lambda id_: (ranks[id_], id_)):
        kept_copies = kept_ids & similarities[document_id].keys()
        if kept_copies:
            replacements[document_id] = min(
                kept_copies,
                key=lambda other_id: (-similarities[document_id][other_id], ranks[other_id]),
            )
        else:
            kept_ids.add(document_id)
    return replacements
