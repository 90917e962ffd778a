"""A claim about single rows is verified once for each data file, whoever writes in between."""

from __future__ import annotations

import lance
import polars as pl

from tests.graph.tables.words import sync_words
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables
from twin_resources.storage.tables.upkeep import MAX_SMALL_FRAGMENTS

TEXTS = {"a": "bell clock", "b": "lamp", "c": "boat oar"}


def looked_at(tables: Tables, *, version: str = "1", author: str = "mara") -> list[str]:
    """The words that are still to be verified; they are recorded as verified."""
    new = tables.unverified_rows("words", author, claim="words_are_words", version=version)
    rows = pl.concat(list(new.read_batches(["word", "absent"], rows=2)))
    new.mark_verified()
    return sorted(rows["word"].to_list())


def test_a_row_is_looked_at_once(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    assert looked_at(tables) == ["bell", "boat", "clock", "lamp", "oar"]
    assert looked_at(tables) == []
    sync_words(tables, TEXTS | {"b": "lamp oil", "d": "kite"})
    assert looked_at(tables) == ["kite", "lamp", "oil"]
    sync_words(tables, TEXTS)
    assert looked_at(tables) == ["lamp"]


def test_what_was_not_held_is_looked_at_again(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    looked_at(tables)
    sync_words(tables, TEXTS | {"d": "kite"})
    for _ in range(2):
        new = tables.unverified_rows("words", "mara", claim="words_are_words", version="1")
        assert pl.concat(list(new.read_batches(["word"], rows=9)))["word"].to_list() == ["kite"]
        assert new.rows == 6


def test_another_version_claim_or_author_knows_nothing(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    sync_words(tables, TEXTS, author="ines")
    looked_at(tables)
    assert len(looked_at(tables, version="2")) == 5
    assert len(looked_at(tables, version="1")) == 5, "only the last version is remembered"
    assert len(looked_at(tables, author="ines")) == 5
    new = tables.unverified_rows("words", "mara", claim="words_are_short", version="1")
    assert pl.concat(list(new.read_batches(["word"], rows=9))).height == 5


def test_a_row_written_past_the_rework_is_looked_at(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    looked_at(tables)
    dataset = lance.dataset(tables.uri("words", "mara"))
    dataset.update({"word": "'forged'"}, where="word = 'oar'")
    assert looked_at(tables) == ["forged"]


def test_compacted_and_remade_files_are_looked_at_again(tables: Tables, state: State) -> None:
    texts = {str(number): f"word{number}" for number in range(2)}
    sync_words(tables, texts)
    looked_at(tables)
    many = {str(number): f"word{number}" for number in range(2 * MAX_SMALL_FRAGMENTS + 10)}
    sync_words(tables, many, batch_rows=2)  # more fragments than are left alone
    assert looked_at(tables) == sorted(many.values())
    assert looked_at(tables) == []


def test_a_table_that_is_made_anew_is_looked_at_whole(tables: Tables) -> None:
    sync_words(tables, TEXTS)
    looked_at(tables)
    sync_words(tables, TEXTS, version="2")
    assert len(looked_at(tables)) == 5
