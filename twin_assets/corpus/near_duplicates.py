"""Find near-duplicate documents of an author by MinHash bands, and verify them exactly.

Scope: bands of a document, the pairs of similar documents that share one, and the copy of a group
that is kept. Out of scope: the table of bands (`cleaning_tables.py`), shingles.

Methods: MinHash (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900), its permutations by
datasketch (https://ekzhu.com/datasketch/minhash.html); banding: Leskovec, Rajaraman and Ullman,
Mining of Massive Datasets, 3.4 (http://infolab.stanford.edu/~ullman/mmds/ch3.pdf).

The choice of bands: two documents of similarity s share at least one of b bands of r rows with
probability 1 - (1 - s^r)^b. The goal is .95 of the pairs at s = .65, the lowest similarity that
counts.

    b x r      s = .65    s = .75    s = .3     s = .1
    14 x 8       .365       .772      .0009     .0000
    20 x 5       .915       .996      .048      .0002
    24 x 4       .991       .9999     .177      .0024
    48 x 4       .9999     1.0000     .324      .0048

24 x 4 misses one pair in a hundred at this threshold and almost none above it. Each false candidate
costs one exact comparison. Pairs of an author's posts that are not copies have an s near 0.
"""
# pyright: strict

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import polars as pl

from twin_assets.corpus.boilerplate import without_repeated_lines
from twin_assets.corpus.language import count_words
from twin_assets.corpus.shingles import jaccard, shingles

SIMILAR = 0.65
"""Documents of at least this Jaccard similarity are copies of one another."""

SHINGLE_WORDS = 3
BANDS, ROWS = 24, 4
_SEED = 20_260_801

SIMILAR_SCHEMA = {
    "document_id": pl.String(),
    "body_hash": pl.String(),
    "words": pl.Int64(),
    "bands": pl.List(pl.Int64()),
    "similar": pl.List(
        pl.Struct({"other_id": pl.String(), "other_hash": pl.String(), "similarity": pl.Float64()})
    ),
}
"""One row per document; `similar` lists the documents that it copied when it was compared."""


class KnownBodies(Protocol):
    """The documents that already have bands."""

    def holding(self, bands: set[int]) -> pl.DataFrame:
        """Return the documents that have one of the bands: `document_id`, `body_hash`, `bands`."""
        ...

    def bodies(self, document_ids: Sequence[str]) -> pl.DataFrame:
        """Return `document_id`, `repeated`, `text` of the given documents."""
        ...


def shingles_of(text: str) -> frozenset[int]:
    """Return the sequences of three words by which documents are compared."""
    return shingles(text, width=SHINGLE_WORDS)


def bands_of(sets: Sequence[frozenset[int]]) -> list[list[int]]:
    """Return the bands of each set, `BANDS` signed 64-bit numbers; an empty set has none.

    They are equal in every process: a seed determines the permutations, and a band includes its
    position.
    """
    minhash: Any = import_module("datasketch").MinHash
    drawn: Iterable[Any] = minhash.generator(
        # numpy accepts lists, not sets
        (list(elements) or [0] for elements in sets),
        num_perm=BANDS * ROWS,
        seed=_SEED,
        hashfunc=int,
        scheme="affine64",
    )
    return [
        _bands(one.hashvalues.tobytes()) if elements else []
        for one, elements in zip(drawn, sets, strict=True)
    ]


def _bands(signature: bytes) -> list[int]:
    width = len(signature) // BANDS
    return [
        int.from_bytes(
            hashlib.blake2b(
                signature[band * width : (band + 1) * width],
                digest_size=8,
                salt=band.to_bytes(2, "big"),
            ).digest(),
            "big",
            signed=True,
        )
        for band in range(BANDS)
    ]


def sharing(bands: Mapping[str, Sequence[int]]) -> set[tuple[str, str]]:
    """Return the pairs of keys that share a band, the smaller key first."""
    holders: dict[int, list[str]] = defaultdict(list)
    for key in sorted(bands):
        for band in bands[key]:
            holders[band].append(key)
    return {
        (left, right)
        for keys in holders.values()
        for place, left in enumerate(keys)
        for right in keys[place + 1 :]
    }


def verified(
    pairs: Iterable[tuple[str, str]], sets: Mapping[str, frozenset[int]]
) -> dict[tuple[str, str], float]:
    """Return the candidate pairs of Jaccard similarity `SIMILAR` or more, with the similarity."""
    similarities = {pair: jaccard(sets[pair[0]], sets[pair[1]]) for pair in pairs}
    return {pair: similarity for pair, similarity in similarities.items() if similarity >= SIMILAR}


def similar_bodies(new: pl.DataFrame, *, known: KnownBodies | None = None) -> pl.DataFrame:
    """Return the bands of documents, and the documents that each is a copy of.

    Args:
        new: `document_id`, `body_hash`, `repeated`, `text`.
        known: other documents to compare with; none of them is in `new`.

    Returns:
        `SIMILAR_SCHEMA`, in the order of `new`. A pair of two new documents is listed for both; a
        pair of a new and a known document is listed for the new one.
    """
    texts = _bodies(new)
    sets = {name: shingles_of(text) for name, text in texts.items()}
    bands = dict(zip(sets, bands_of(list(sets.values())), strict=True))
    hashes: dict[str, str] = dict(new.select("document_id", "body_hash").iter_rows())
    pairs = sharing(bands)
    if known is not None:
        held = known.holding({band for each in bands.values() for band in each})
        theirs: dict[str, list[int]] = dict(held.select("document_id", "bands").iter_rows())
        hashes |= dict(held.select("document_id", "body_hash").iter_rows())
        pairs |= {
            pair
            for pair in sharing({**theirs, **bands})
            if not (pair[0] in theirs and pair[1] in theirs)
        }
        others = _bodies(known.bodies(sorted(theirs))) if theirs else {}
        sets |= {name: shingles_of(text) for name, text in others.items()}
    similar: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (left, right), similarity in sorted(verified(pairs, sets).items()):
        for one, other in ((left, right), (right, left)):
            similar[one].append(
                {"other_id": other, "other_hash": hashes[other], "similarity": similarity}
            )
    rows = [
        {
            "document_id": name,
            "body_hash": hashes[name],
            "words": count_words(text),
            "bands": bands[name],
            "similar": similar[name],
        }
        for name, text in texts.items()
    ]
    return pl.DataFrame(rows, schema=SIMILAR_SCHEMA)


def _bodies(documents: pl.DataFrame) -> dict[str, str]:
    return {
        name: without_repeated_lines(text, frozenset(repeated))
        for name, repeated, text in documents.select("document_id", "repeated", "text").iter_rows()
    }


@dataclass(frozen=True)
class DocumentCopy:
    """A document in a group of copies.

    Attributes:
        name: its id.
        words: its number of words; the copy with the most words is the richest.
        age: a sort key, lower for an older copy; of two copies with equal words the older is kept.
    """

    name: str
    words: int
    age: tuple[Any, ...]


def collapse(
    copies: Mapping[str, DocumentCopy], pairs: Mapping[tuple[str, str], float]
) -> dict[str, str]:
    """Return the richer copy that replaces each removed copy.

    Documents are processed from the richest. Each is kept unless it is similar to a kept one. No
    two kept documents are therefore similar, and each removed document is similar to the one named.
    """
    similar: dict[str, dict[str, float]] = defaultdict(dict)
    for (left, right), similarity in pairs.items():
        similar[left][right] = similar[right][left] = similarity
    stays: set[str] = set()
    gone: dict[str, str] = {}
    ranked = sorted(similar, key=lambda name: (-copies[name].words, copies[name].age, name))
    rank = {name: place for place, name in enumerate(ranked)}
    for name in ranked:
        richer = [other for other in similar[name] if other in stays]
        if richer:
            gone[name] = min(richer, key=lambda other: (-similar[name][other], rank[other]))
        else:
            stays.add(name)
    return gone
