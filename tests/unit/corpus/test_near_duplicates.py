"""Test copies of a text: which pairs are found, and which copy is kept."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from twin_assets.corpus.near_duplicates import (
    BAND_COUNT,
    MIN_SIMILARITY,
    ROWS_PER_BAND,
    SHINGLE_WORDS,
    collapse_copies,
    find_candidate_pairs,
    find_similar_texts,
)
from twin_assets.corpus.shingles import jaccard, shingles

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


def test_the_candidate_rate_follows_the_formula() -> None:
    """Of 400 pairs of sets with a Jaccard similarity of one third, 26 % share a band."""
    rng = random.Random(5)
    sets: dict[str, frozenset[int]] = {}
    for number in range(400):
        elements = [rng.getrandbits(60) for _ in range(200)]
        sets[f"{number}a"] = frozenset(elements[:150])
        sets[f"{number}b"] = frozenset([*elements[75:150], *elements[150:], rng.getrandbits(60)])
    similarity = jaccard(sets["0a"], sets["0b"])
    candidates = find_candidate_pairs(sets.items())
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
    sets = {name: shingles(text, width=SHINGLE_WORDS) for name, text in texts.items()}
    true_pairs = {
        (f"{number:03}a", f"{number:03}b")
        for number in range(600)
        if jaccard(sets[f"{number:03}a"], sets[f"{number:03}b"]) >= MIN_SIMILARITY
    }
    similarities = find_similar_texts(texts)
    found_pairs = similarities.keys()
    assert len(true_pairs) > 150
    assert 600 - len(true_pairs) > 150, "too few copies are edited to a similarity below .65"
    assert len(found_pairs & true_pairs) / len(true_pairs) >= 0.95
    assert len(found_pairs & true_pairs) / len(found_pairs) >= 0.99
    for (left, right), similarity in similarities.items():
        assert similarity == jaccard(sets[left], sets[right]) >= MIN_SIMILARITY


def test_a_text_without_words_has_no_copies() -> None:
    assert find_similar_texts({"a": "", "b": "", "c": "…", "d": "…"}) == {}


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
