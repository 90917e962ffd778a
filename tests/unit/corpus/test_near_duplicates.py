"""Test copies of a text: which pairs are found, and which copy is kept."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import combinations

import polars as pl
import pytest

from twin_assets.corpus.near_duplicates import (
    BAND_COUNT,
    MIN_SIMILARITY,
    ROWS_PER_BAND,
    SIMILARITY_SCHEMA,
    collapse_copies,
    compare_bodies,
    compute_document_shingles,
    compute_minhash_bands,
    find_candidate_pairs,
    verify_pairs,
)
from twin_assets.corpus.shingles import jaccard

VOCABULARY = [f"word{number}" for number in range(3000)]


def draw_words(rng: random.Random, count: int) -> list[str]:
    return rng.choices(VOCABULARY, k=count)


def edit_words(words: list[str], rng: random.Random, *, share: float) -> list[str]:
    """Return a copy with a share of its words changed or dropped, and a different ending."""
    copy: list[str] = []
    for word in words:
        chance = rng.random()
        if chance < share / 2:
            copy.append(rng.choice(VOCABULARY))
        elif chance > share:
            copy.append(word)
    return copy + draw_words(rng, rng.randrange(1 + len(words) // 10))


def build_bodies(texts: dict[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "document_id": list(texts),
            "body_hash": [f"hash of {name}" for name in texts],
            "repeated": [[] for _ in texts],
            "text": list(texts.values()),
        },
        schema_overrides={"repeated": pl.List(pl.Int64)},
    )


def test_the_candidate_rate_follows_the_formula() -> None:
    """Of 400 pairs of sets with a Jaccard similarity of one third, 26 % share a band."""
    rng = random.Random(5)
    sets: dict[str, frozenset[int]] = {}
    for number in range(400):
        elements = [rng.getrandbits(60) for _ in range(200)]
        sets[f"{number}a"] = frozenset(elements[:150])
        sets[f"{number}b"] = frozenset([*elements[75:150], *elements[150:], rng.getrandbits(60)])
    similarity = jaccard(sets["0a"], sets["0b"])
    candidates = find_candidate_pairs(
        dict(zip(sets, compute_minhash_bands(list(sets.values())), strict=True))
    )
    rate = sum((f"{number}a", f"{number}b") in candidates for number in range(400)) / 400
    assert rate == pytest.approx(1 - (1 - similarity**ROWS_PER_BAND) ** BAND_COUNT, abs=0.08)


def test_planted_copies_are_found_and_nothing_else() -> None:
    """Of 600 edited pairs, those of similarity .65 or more are found: recall .95, precision .99."""
    rng = random.Random(7)
    texts: dict[str, str] = {}
    for number in range(600):
        words = draw_words(rng, rng.randrange(30, 400))
        texts[f"{number:03}a"] = " ".join(words)
        texts[f"{number:03}b"] = " ".join(edit_words(words, rng, share=rng.uniform(0.0, 0.2)))
    sets = {name: compute_document_shingles(text) for name, text in texts.items()}
    true_pairs = {
        (f"{number:03}a", f"{number:03}b")
        for number in range(600)
        if jaccard(sets[f"{number:03}a"], sets[f"{number:03}b"]) >= MIN_SIMILARITY
    }
    similar = compare_bodies(build_bodies(texts))
    found_pairs = {
        (name, copy["other_id"])
        for name, copies in similar.select("document_id", "similar").iter_rows()
        for copy in copies
        if name < copy["other_id"]
    }
    assert len(true_pairs) > 150
    assert 600 - len(true_pairs) > 150, "too few copies are edited to a similarity below .65"
    assert len(found_pairs & true_pairs) / len(true_pairs) >= 0.95
    assert len(found_pairs & true_pairs) / len(found_pairs) >= 0.99
    assert similar.schema == SIMILARITY_SCHEMA


def test_a_pair_is_attributed_to_the_new_document() -> None:
    rng = random.Random(3)
    texts = {name: " ".join(draw_words(rng, 100)) for name in "abc"}
    texts["d"] = texts["b"] + " and a few more words"
    stored = compare_bodies(build_bodies({name: texts[name] for name in "abc"}))

    class StoredBodies:
        def find_by_bands(self, bands: set[int]) -> pl.DataFrame:
            return stored.filter(pl.col("bands").list.set_intersection(list(bands)).list.len() > 0)

        def read_bodies(self, document_ids: Sequence[str]) -> pl.DataFrame:
            assert list(document_ids) == ["b"]  # No other text is read.
            return build_bodies({name: texts[name] for name in document_ids})

    [row] = compare_bodies(build_bodies({"d": texts["d"]}), known_bodies=StoredBodies()).to_dicts()
    [pair] = row["similar"]
    assert (pair["other_id"], pair["other_hash"]) == ("b", "hash of b")
    assert pair["similarity"] == jaccard(
        compute_document_shingles(texts["d"]), compute_document_shingles(texts["b"])
    )


def test_bands_are_equal_in_every_process() -> None:
    code = (
        "from twin_assets.corpus import near_duplicates as near;"
        "shingles = near.compute_document_shingles('the same words in another process');"
        "print(near.compute_minhash_bands([shingles])[0])"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert (
        str(
            compute_minhash_bands([compute_document_shingles("the same words in another process")])[
                0
            ]
        )
        == completed.stdout.strip()
    )


def test_a_text_without_words_has_no_copies() -> None:
    similar = compare_bodies(build_bodies({"a": "", "b": "", "c": "…"}))
    assert similar["bands"].to_list() == [[], [], []]
    assert similar["similar"].to_list() == [[], [], []]


def test_the_copy_with_the_lower_rank_is_kept() -> None:
    copies = {"original": (1, -90), "repost": (3, -120), "long": (2, -60), "short": (2, -50)}
    replacements = collapse_copies(copies, {("original", "repost"): 0.8, ("long", "short"): 1.0})
    assert replacements == {"repost": "original", "short": "long"}


def test_no_two_kept_posts_of_a_chain_are_similar() -> None:
    """Every dropped post is similar to the kept post that replaces it."""
    rng = random.Random(11)
    for _ in range(50):
        names = [f"d{number}" for number in range(8)]
        copies = {name: (-rng.randrange(5), rng.random()) for name in names}
        pairs = {
            pair: rng.uniform(0.65, 1) for pair in combinations(names, 2) if rng.random() < 0.3
        }
        replacements = collapse_copies(copies, pairs)
        kept = [name for name in names if name not in replacements]
        assert not [pair for pair in combinations(kept, 2) if pair in pairs]
        for copy, kept_copy in replacements.items():
            assert kept_copy in kept
            assert tuple(sorted((copy, kept_copy))) in pairs
            assert copies[kept_copy][0] <= copies[copy][0]


def test_candidates_below_the_threshold_are_not_copies() -> None:
    sets = {"a": frozenset(range(100)), "b": frozenset(range(40, 140)), "c": frozenset(range(95))}
    assert verify_pairs([("a", "b"), ("a", "c")], sets) == {("a", "c"): 0.95}
