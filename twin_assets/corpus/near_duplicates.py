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
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from itertools import combinations
from typing import Any

from twin_assets.corpus.shingles import jaccard, shingles

MIN_SIMILARITY = 0.65
"""Texts with at least this Jaccard similarity of three-word sequences are copies of each other."""

MIN_CONTAINED_SHARE = 0.9
"""A text with at least this share of its three-word sequences in a longer one is a part of it; a
page's formulas and links may read otherwise in a feed."""

SHINGLE_WORDS = 3
BAND_COUNT, ROWS_PER_BAND = 24, 4
_SEED = 20_260_801


def find_similar_texts(
    texts: Mapping[str, str],
    *,
    on_text: Callable[[int, int], object] = lambda _done, _total: None,
) -> dict[tuple[str, str], float]:
    """Return the similarity of each pair of names whose texts are copies, the smaller name first.

    A text without words has no copies.

    Args:
        on_text: called before each text with the number of texts that are done and of all texts.
    """

    def read_sets() -> Iterator[tuple[str, frozenset[int]]]:
        for done, (name, text) in enumerate(texts.items()):
            on_text(done, len(texts))
            yield name, shingles(text, width=SHINGLE_WORDS)

    pairs = sorted(find_candidate_pairs(read_sets()))
    # The sets of 20,000 posts take 900 MB, so only those of the few candidates exist at once.
    sets = {
        name: shingles(texts[name], width=SHINGLE_WORDS)
        for name in dict.fromkeys(name for pair in pairs for name in pair)
    }
    similarities = ((pair, jaccard(sets[pair[0]], sets[pair[1]])) for pair in pairs)
    return {pair: similarity for pair, similarity in similarities if similarity >= MIN_SIMILARITY}


def find_candidate_pairs(sets: Iterable[tuple[str, frozenset[int]]]) -> set[tuple[str, str]]:
    """Return the pairs of names whose sets share a band; an empty set shares none."""
    import numpy as np

    names: list[str] = []

    def list_elements() -> Iterator[list[int]]:
        for name, elements in sets:
            if elements:
                names.append(name)
                yield list(elements)  # numpy accepts lists, not sets

    minhash: Any = import_module("datasketch").MinHash
    signatures: list[Any] = [
        signature.hashvalues
        for signature in minhash.generator(
            list_elements(),
            num_perm=BAND_COUNT * ROWS_PER_BAND,
            seed=_SEED,  # the same pairs in every process
            hashfunc=int,
            scheme="affine64",
        )
    ]
    if not signatures:
        return set()
    pairs: set[tuple[str, str]] = set()
    for bands in np.split(np.stack(signatures), BAND_COUNT, axis=1):
        names_by_band: dict[bytes, list[str]] = defaultdict(list)
        for name, band in zip(names, bands, strict=True):
            names_by_band[band.tobytes()].append(name)
        for similar_names in names_by_band.values():
            pairs.update(combinations(sorted(similar_names), 2))
    return pairs


def find_containing_texts(
    texts: Mapping[str, str], candidates: Mapping[str, Iterable[str]]
) -> dict[str, str]:
    """Map each name whose text is a part of a candidate's text to the candidate with most words.

    Args:
        candidates: the names of the texts that may contain a text, by its name.
    """
    containing: dict[str, str] = {}
    for name, others in candidates.items():
        part = shingles(texts[name], width=SHINGLE_WORDS)
        wholes = {other: shingles(texts[other], width=SHINGLE_WORDS) for other in others}
        found = [
            (len(whole), other)
            for other, whole in wholes.items()
            if len(whole) > len(part) and len(part & whole) >= MIN_CONTAINED_SHARE * len(part)
        ]
        if part and found:
            containing[name] = max(found)[1]
    return containing


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
