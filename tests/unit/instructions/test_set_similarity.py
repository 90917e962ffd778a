"""Test the search for similar texts by words, shingles and sketches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_assets.corpus.shingles import jaccard, shingles, split_words
from twin_assets.instructions.set_similarity import estimate_similarity, find_similar_pairs, sketch

SETS = st.dictionaries(
    st.text("abc", min_size=1, max_size=3), st.frozensets(st.integers(0, 9), max_size=6), max_size=8
)


@pytest.mark.long
@given(left=SETS, right=SETS, threshold=st.sampled_from([0.2, 0.5, 0.7, 0.8, 1.0]))
def test_prefix_filtering_misses_no_pair(
    left: dict[str, frozenset[int]], right: dict[str, frozenset[int]], threshold: float
) -> None:
    expected = {
        (left_id, right_id)
        for left_id in left
        for right_id in right
        if left[left_id] and jaccard(left[left_id], right[right_id]) >= threshold
    }
    pairs = list(find_similar_pairs(left, right, threshold=threshold))
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected


def test_text_is_split_into_words() -> None:
    assert split_words("Don't *panic*, José — it’s `42`!") == [
        "don't",
        "panic",
        "josé",
        "it’s",
        "42",
    ]
    assert split_words("我喜欢tea") == ["我", "喜", "欢", "tea"]
    assert split_words("...") == []


def test_shingles_are_sequences_of_words() -> None:
    assert len(shingles("one two three four", width=3)) == 2
    assert shingles("One, two; three!", width=3) == shingles("one two three", width=3)
    assert shingles("one two", width=3) == shingles("one two", width=5)
    assert shingles("one two", width=3) != shingles("two one", width=3)
    assert shingles("", width=3) == frozenset()


def test_shingles_are_the_same_on_every_machine() -> None:
    assert sorted(shingles("a b c d", width=3)) == [
        2_006_030_507_258_647_191,
        2_144_603_601_667_541_570,
    ]


def test_sketches_estimate_the_similarity_of_texts() -> None:
    words = [f"word{number}" for number in range(2000)]
    first = shingles(" ".join(words[:1500]), width=5)
    second = shingles(" ".join(words[500:]), width=5)
    exact = jaccard(first, second)
    estimate = estimate_similarity(sketch(first, size=64), sketch(second, size=64), size=64)
    assert abs(estimate - exact) < 0.2
    assert estimate_similarity(sketch(first, size=64), sketch(first, size=64), size=64) == 1
    unrelated = shingles("something else altogether", width=5)
    assert estimate_similarity(sketch(first, size=64), sketch(unrelated, size=64), size=64) < 0.05
