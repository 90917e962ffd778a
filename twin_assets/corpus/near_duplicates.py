"""Find an author's near-duplicate documents with MinHash bands, and verify them exactly.

Scope: a document's bands, the pairs of similar documents that share a band, and the copy that is
kept. Out of scope: the table of bands (`cleaning_tables`), and hashing word sequences (`shingles`).

Methods: MinHash (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900) with datasketch's
permutations (https://ekzhu.com/datasketch/minhash.html); banding: Leskovec, Rajaraman and Ullman,
Mining of Massive Datasets, 3.4 (http://infolab.stanford.edu/~ullman/mmds/ch3.pdf).

Two documents with similarity s share at least one of b bands of r rows with probability
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

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from itertools import chain, combinations
from typing import Any, Protocol

import polars as pl

from twin_assets.corpus.boilerplate import remove_repeated_lines
from twin_assets.corpus.language import count_words
from twin_assets.corpus.shingles import jaccard, shingles

MIN_SIMILARITY = 0.65
"""Documents with at least this Jaccard similarity are copies of each other."""

SHINGLE_WORDS = 3
BAND_COUNT, ROWS_PER_BAND = 24, 4
_SEED = 20_260_801

SIMILARITY_SCHEMA = {
    "document_id": pl.String(),
    "body_hash": pl.String(),
    "words": pl.Int64(),
    "bands": pl.List(pl.Int64()),
    "similar": pl.List(
        pl.Struct({"other_id": pl.String(), "other_hash": pl.String(), "similarity": pl.Float64()})
    ),
}
"""Schema with one row per document; `similar` lists the copies found when it was compared."""


class KnownBodies(Protocol):
    """The documents that already have bands."""

    def find_by_bands(self, bands: set[int]) -> pl.DataFrame:
        """Return `document_id`, `body_hash` and `bands` of the documents with one of the bands."""
        ...

    def read_bodies(self, document_ids: Sequence[str]) -> pl.DataFrame:
        """Return `document_id`, `repeated` and `text` of the given documents."""
        ...


def compute_document_shingles(text: str) -> frozenset[int]:
    """Return the hashes of a text's three-word sequences, with which documents are compared."""
    return shingles(text, width=SHINGLE_WORDS)


def compute_minhash_bands(shingle_sets: Sequence[frozenset[int]]) -> list[list[int]]:
    """Return `BAND_COUNT` bands (signed 64-bit numbers) for each set, or [] for an empty set.

    The bands are the same in every process, because a seed determines the permutations. A band's
    hash includes its position.
    """
    minhash: Any = import_module("datasketch").MinHash
    signatures: Iterable[Any] = minhash.generator(
        # numpy accepts lists, not sets
        (list(elements) or [0] for elements in shingle_sets),
        num_perm=BAND_COUNT * ROWS_PER_BAND,
        seed=_SEED,
        hashfunc=int,
        scheme="affine64",
    )
    return [
        _split_into_bands(signature.hashvalues.tobytes()) if elements else []
        for signature, elements in zip(signatures, shingle_sets, strict=True)
    ]


def _split_into_bands(signature: bytes) -> list[int]:
    width = len(signature) // BAND_COUNT
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
        for band in range(BAND_COUNT)
    ]


def find_candidate_pairs(bands: Mapping[str, Sequence[int]]) -> set[tuple[str, str]]:
    """Return the pairs of keys that share a band, with the smaller key first."""
    keys_by_band: dict[int, list[str]] = defaultdict(list)
    for key in sorted(bands):
        for band in bands[key]:
            keys_by_band[band].append(key)
    return {pair for keys in keys_by_band.values() for pair in combinations(keys, 2)}


def verify_pairs(
    pairs: Iterable[tuple[str, str]], shingle_sets: Mapping[str, frozenset[int]]
) -> dict[tuple[str, str], float]:
    """Return the Jaccard similarity of each candidate pair that reaches `MIN_SIMILARITY`."""
    similarities = ((pair, jaccard(*(shingle_sets[key] for key in pair))) for pair in pairs)
    return {pair: similarity for pair, similarity in similarities if similarity >= MIN_SIMILARITY}


def compare_bodies(
    new_bodies: pl.DataFrame, *, known_bodies: KnownBodies | None = None
) -> pl.DataFrame:
    """Return each document's bands and the similar documents.

    Args:
        new_bodies: `document_id`, `body_hash`, `repeated` and `text`.
        known_bodies: further documents to compare with; none of them is in `new_bodies`.

    Returns:
        `SIMILARITY_SCHEMA`, in the order of `new_bodies`. A pair of two new documents is listed for
        both; a pair of a new and a known document is listed for the new one.
    """
    texts = _remove_boilerplate(new_bodies)
    shingle_sets = {id_: compute_document_shingles(text) for id_, text in texts.items()}
    bands = dict(zip(shingle_sets, compute_minhash_bands(list(shingle_sets.values())), strict=True))
    hashes: dict[str, str] = dict(new_bodies.select("document_id", "body_hash").iter_rows())
    pairs = find_candidate_pairs(bands)
    if known_bodies is not None:
        known_rows = known_bodies.find_by_bands(set(chain.from_iterable(bands.values())))
        known_bands: dict[str, list[int]] = dict(
            known_rows.select("document_id", "bands").iter_rows()
        )
        hashes |= dict(known_rows.select("document_id", "body_hash").iter_rows())
        pairs |= {
            pair
            for pair in find_candidate_pairs({**known_bands, **bands})
            if not (pair[0] in known_bands and pair[1] in known_bands)
        }
        known_texts = (
            _remove_boilerplate(known_bodies.read_bodies(sorted(known_bands)))
            if known_bands
            else {}
        )
        shingle_sets |= {id_: compute_document_shingles(text) for id_, text in known_texts.items()}
    similar_documents: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (left, right), similarity in sorted(verify_pairs(pairs, shingle_sets).items()):
        for document_id, other_id in ((left, right), (right, left)):
            similar_documents[document_id].append(
                {"other_id": other_id, "other_hash": hashes[other_id], "similarity": similarity}
            )
    rows = [
        {
            "document_id": document_id,
            "body_hash": hashes[document_id],
            "words": count_words(text),
            "bands": bands[document_id],
            "similar": similar_documents[document_id],
        }
        for document_id, text in texts.items()
    ]
    return pl.DataFrame(rows, schema=SIMILARITY_SCHEMA)


def _remove_boilerplate(documents: pl.DataFrame) -> dict[str, str]:
    return {
        document_id: remove_repeated_lines(text, frozenset(repeated_lines))
        for document_id, repeated_lines, text in documents.select(
            "document_id", "repeated", "text"
        ).iter_rows()
    }


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
