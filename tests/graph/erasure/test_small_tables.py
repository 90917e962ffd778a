"""Rows that are erased from small tables, in the newest version and in earlier ones."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.erasure_targets import author_target, post_target, reader_target
from tests.graph.tables.test_forget import files_with
from tests.stored_rows import store_rows
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.lance_tables import LanceTables
from twin_resources.settings import Settings

READER, OTHER = "0123456789abcdef", "fedcba9876543210"
TEXT = "In March the old clock of my uncle stopped for good."
WORD = "snickerbell"
GONE_READER = reader_target(READER)
GONE_POST = post_target("ada", "2019/the-walk.md", TEXT, authors=frozenset({"ada"}))
SCHEMA = {"trace_id": pl.String(), "reader": pl.String(), "answer": pl.String()}


@pytest.fixture
def place(home: Settings) -> LanceTables:
    return LanceTables(Installation.for_settings(home))


def answers(place: LanceTables, rows: dict[str, tuple[str, str]], author: str = "ada") -> None:
    """The table `interactions`: trace → reader and answer."""
    frame = pl.DataFrame(
        {
            "trace_id": list(rows),
            "reader": [reader for reader, _ in rows.values()],
            "answer": [answer for _, answer in rows.values()],
        },
        schema=dict(SCHEMA),
    )
    store_rows(place.instance.tables, "interactions", author, frame, key="trace_id")


def trace_ids(place: LanceTables, author: str = "ada", version: str | None = None) -> list[str]:
    rows = place.instance.tables.read("interactions", author, version=version)
    return sorted(rows["trace_id"].to_list())


def folder_of(place: LanceTables, author: str = "ada") -> Path:
    return Path(place.instance.tables.uri("interactions", author))


ROWS = {"t1": (READER, f"a {WORD} one"), "t2": (OTHER, "two"), "t3": (READER, "three")}


def test_a_reader_is_in_no_table_of_any_author(place: LanceTables) -> None:
    answers(place, ROWS)
    answers(place, ROWS, author="bea")
    assert len(place.find_remaining(GONE_READER)) == 2

    assert place.erase(GONE_READER) == 4

    assert trace_ids(place) == trace_ids(place, "bea") == ["t2"]
    assert place.find_remaining(GONE_READER) == []
    assert files_with(folder_of(place), WORD) == []
    assert place.erase(GONE_READER) == 0


def test_a_reader_whose_rows_an_edit_took_out_is_in_no_older_version(place: LanceTables) -> None:
    answers(place, ROWS)
    answers(place, {"t2": ROWS["t2"]})
    assert files_with(folder_of(place), WORD), "Lance keeps what a sync has deleted"

    place.erase(GONE_READER)

    assert files_with(folder_of(place), WORD) == []
    assert place.find_remaining(GONE_READER) == []
    assert trace_ids(place) == ["t2"]


def test_a_version_that_a_tag_holds_is_cleaned_and_keeps_its_tag(place: LanceTables) -> None:
    answers(place, ROWS)
    place.instance.tables.tag("interactions", "ada", "trained")
    answers(place, {"t2": ROWS["t2"]})

    assert place.erase(GONE_READER) == 2, "rows of the tagged version"

    assert trace_ids(place, version="trained") == ["t2"]
    assert files_with(folder_of(place), WORD) == []


def test_a_post_is_found_by_its_words_in_the_authors_own_tables_alone(place: LanceTables) -> None:
    rows = {"t1": (OTHER, f"She said: {TEXT} Then {WORD}."), "t2": (OTHER, "in March the old one")}
    answers(place, rows)
    answers(place, rows, author="bea")

    assert place.erase(GONE_POST) == 1

    assert trace_ids(place) == ["t2"]
    assert trace_ids(place, "bea") == ["t1", "t2"], "what another author has is nobody's to forget"
    assert place.find_remaining(GONE_POST) == []


def test_a_folder_without_a_table_hides_no_old_index(place: LanceTables) -> None:
    answers(place, ROWS)
    (folder_of(place).parent / "a.lance").mkdir()
    (folder_of(place) / "_indices" / "old").mkdir(parents=True)
    assert place.find_remaining(GONE_POST) == ["ada/interactions: an old index"]


def test_a_row_goes_that_names_a_post_without_being_made_from_it(place: LanceTables) -> None:
    frame = pl.DataFrame(
        {"pair": ["p1", "p2"], "passage_of": ["2019/the-walk.md", "2019/other.md"]}
    )
    store_rows(place.instance.tables, "shadow_pairs", "ada", frame, key="pair")
    assert place.find_rows("shadow_pairs", "ada", GONE_POST).keys == {"p1"}
    assert place.find_derived_keys("shadow_pairs", "ada", GONE_POST) == set()


def test_an_author_goes_whole_and_the_others_stay(place: LanceTables) -> None:
    answers(place, ROWS)
    answers(place, ROWS, author="bea")
    target = author_target("ada")
    assert place.erase(target) == 1
    assert not folder_of(place).parent.exists()
    assert trace_ids(place, "bea") == ["t1", "t2", "t3"]
    assert place.list_author_folders(target) == []
