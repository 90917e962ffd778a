"""Test that a claim about single rows is verified once per data file, despite other writes."""

from __future__ import annotations

import lance
import polars as pl
import pytest

from tests.graph.tables.words import sync_words
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.maintenance import MAX_SMALL_FRAGMENTS
from twin_resources.storage.tables.tables import Tables

TEXTS = {"a": "bell clock", "b": "lamp", "c": "boat oar"}


def verify(tables: Tables, *, version: str = "1", author: str = "mara") -> list[str]:
    """Record all unverified rows as verified; return their words."""
    unverified = tables.unverified_rows("words", author, claim="words_are_words", version=version)
    rows = pl.concat(list(unverified.read_batches(["word", "absent"], batch_size=2)))
    unverified.mark_verified()
    return sorted(rows["word"].to_list())


def test_a_row_is_verified_once(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    assert verify(tables) == ["bell", "boat", "clock", "lamp", "oar"]
    assert verify(tables) == []
    sync_words(tables, TEXTS | {"b": "lamp oil", "d": "kite"})
    assert verify(tables) == ["kite", "lamp", "oil"]
    sync_words(tables, TEXTS)
    assert verify(tables) == ["lamp"]


def test_rows_not_marked_as_verified_are_read_again(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    verify(tables)
    sync_words(tables, TEXTS | {"d": "kite"})
    for _ in range(2):
        unverified = tables.unverified_rows("words", "mara", claim="words_are_words", version="1")
        assert pl.concat(list(unverified.read_batches(["word"], batch_size=9)))[
            "word"
        ].to_list() == ["kite"]
        assert unverified.row_count == 6


def test_another_version_claim_or_author_starts_unverified(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    sync_words(tables, TEXTS, author="ines")
    verify(tables)
    assert len(verify(tables, version="2")) == 5
    assert len(verify(tables, version="1")) == 5, "an earlier version was remembered"
    assert len(verify(tables, author="ines")) == 5
    unverified = tables.unverified_rows("words", "mara", claim="words_are_short", version="1")
    assert pl.concat(list(unverified.read_batches(["word"], batch_size=9))).height == 5


def test_a_row_written_without_a_sync_is_verified(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    verify(tables)
    dataset = lance.dataset(tables.uri("words", "mara"))
    dataset.update({"word": "'forged'"}, where="word = 'oar'")
    assert verify(tables) == ["forged"]


@pytest.mark.long
def test_rows_of_compacted_files_are_verified_again(tables: Tables, state: State) -> None:
    texts = {str(number): f"word{number}" for number in range(2)}
    sync_words(tables, texts)
    verify(tables)
    many_texts = {str(number): f"word{number}" for number in range(2 * MAX_SMALL_FRAGMENTS + 10)}
    sync_words(tables, many_texts, batch_rows=2)  # enough fragments for a compaction
    assert verify(tables) == sorted(many_texts.values())
    assert verify(tables) == []
