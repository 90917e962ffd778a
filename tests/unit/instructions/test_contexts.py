"""Test that contexts are separated across splits, and kept while they are valid."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from twin_assets.instructions.contexts import (
    MAX_SHARED_TOKENS,
    ContextSample,
    find_own_chunks,
    has_context,
    is_context_valid,
    separate_contexts,
)
from twin_resources.errors import TwinError

TOKENS = {"a": 200, "b": 150, "c": 100, "d": 50}


def shared_fraction(left: tuple[str, ...], right: tuple[str, ...]) -> float:
    def count_tokens(chunks: set[str]) -> int:
        return sum(TOKENS[chunk] for chunk in chunks)

    return count_tokens(set(left) & set(right)) / max(count_tokens(set(left) | set(right)), 1)


def test_training_prompts_drop_contexts_of_held_out_prompts() -> None:
    contexts = {"h": ("a", "b", "c"), "t": ("c", "b", "a"), "u": ("a", "d"), "v": ()}
    result = separate_contexts(contexts, held_out_samples={"h"}, token_counts=TOKENS)
    assert result["h"] == ("a", "b", "c")
    assert result["u"] == ("a", "d")
    assert result["v"] == ()
    assert result["t"] == ("c", "b")
    assert (
        shared_fraction(result["t"], result["h"])
        < MAX_SHARED_TOKENS
        <= shared_fraction(contexts["t"], contexts["h"])
    )


def test_contexts_of_several_held_out_prompts_are_separated() -> None:
    contexts = {"h": ("a", "b"), "i": ("b",), "j": ("c", "d"), "t": ("a", "b", "d")}
    result = separate_contexts(contexts, held_out_samples={"h", "i", "j"}, token_counts=TOKENS)
    assert all(
        shared_fraction(result["t"], result[held_out]) < MAX_SHARED_TOKENS for held_out in "hij"
    )
    assert (
        separate_contexts(result, held_out_samples={"h", "i", "j"}, token_counts=TOKENS) == result
    )


def test_training_prompts_may_share_contexts() -> None:
    contexts = {"t": ("a", "b"), "u": ("a", "b")}
    assert separate_contexts(contexts, held_out_samples=set(), token_counts=TOKENS) == contexts


def test_a_fifth_of_the_samples_get_no_context() -> None:
    count = sum(not has_context(f"sample-{number}") for number in range(2000))
    assert 0.17 < count / 2000 < 0.23


def test_the_chunk_of_a_sample_contains_most_of_its_answer() -> None:
    drafts = pl.DataFrame(
        {"sample_id": ["s", "t"], "document_id": ["d", "d"], "start": [50, 0], "end": [250, 100]}
    )
    chunks = pl.DataFrame(
        {
            "chunk_id": ["one", "two", "three", "other"],
            "document_id": ["d", "d", "d", "e"],
            "start": [0, 101, 260, 0],
            "end": [100, 258, 300, 300],
        }
    )
    own_chunks = find_own_chunks(drafts, chunks).sort("sample_id")
    assert own_chunks["chunk_id"].to_list() == ["two", "one"]
    assert own_chunks["own_chunks"].to_list() == [["two", "one"], ["one"]]
    with pytest.raises(TwinError, match="embeddings"):
        find_own_chunks(drafts, chunks.filter(pl.col("chunk_id") == "three"))


def test_a_stored_context_is_kept_while_it_is_valid() -> None:
    dates = {year: datetime(year, 1, 1, tzinfo=UTC) for year in (2010, 2015, 2020)}
    sample = ContextSample("s", "q", "a", dates[2015], "train", ("own",))
    chunk_dates = {"old": dates[2010], "new": dates[2020], "undated": None, "own": dates[2010]}
    assert is_context_valid(sample, ("old",), chunk_dates)
    assert is_context_valid(sample, (), chunk_dates)
    for invalid in ("new", "undated", "own", "vanished"):
        assert not is_context_valid(sample, ("old", invalid), chunk_dates)


@pytest.mark.parametrize(("split", "is_valid"), [("train", False), ("held_out", True)])
def test_a_reinstated_training_sample_drops_held_out_contexts(split: str, is_valid: bool) -> None:
    sample = ContextSample("s", "q", "a", None, split, ("own",))
    assert (
        is_context_valid(sample, ("a", "b"), dict.fromkeys("ab"), held_out_chunks={"b"}) is is_valid
    )
    assert is_context_valid(sample, ("a",), dict.fromkeys("ab"), held_out_chunks={"b"})
