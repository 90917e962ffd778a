"""Rows are erased from the newest and earlier versions of small tables."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.erasure_targets import author_target, post_target, reader_target
from tests.graph.tables.test_forget import find_files_with
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


def write_answers(
    place: LanceTables, rows: dict[str, tuple[str, str]], author: str = "ada"
) -> None:
    """Write the table `interactions`, with a reader and an answer for each trace."""
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


def test_a_reader_is_erased_from_the_tables_of_all_authors(place: LanceTables) -> None:
    write_answers(place, ROWS)
    write_answers(place, ROWS, author="bea")
    assert len(place.find_remaining(GONE_READER)) == 2

    assert place.erase(GONE_READER) == 4

    assert trace_ids(place) == trace_ids(place, "bea") == ["t2"]
    assert place.find_remaining(GONE_READER) == []
    assert find_files_with(folder_of(place), WORD) == []
    assert place.erase(GONE_READER) == 0


def test_rows_deleted_by_an_edit_are_erased_from_older_versions(place: LanceTables) -> None:
    write_answers(place, ROWS)
    write_answers(place, {"t2": ROWS["t2"]})
    assert find_files_with(folder_of(place), WORD), "the deleted row is in no older version"

    place.erase(GONE_READER)

    assert find_files_with(folder_of(place), WORD) == []
    assert place.find_remaining(GONE_READER) == []
    assert trace_ids(place) == ["t2"]


def test_a_tagged_version_is_erased_and_keeps_its_tag(place: LanceTables) -> None:
    write_answers(place, ROWS)
    place.instance.tables.tag("interactions", "ada", "trained")
    write_answers(place, {"t2": ROWS["t2"]})

    assert place.erase(GONE_READER) == 2, "not both rows of the tagged version were erased"

    assert trace_ids(place, version="trained") == ["t2"]
    assert find_files_with(folder_of(place), WORD) == []


def test_a_posts_text_is_erased_only_from_the_authors_tables(place: LanceTables) -> None:
    rows = {"t1": (OTHER, f"She said: {TEXT} Then {WORD}."), "t2": (OTHER, "in March the old one")}
    write_answers(place, rows)
    write_answers(place, rows, author="bea")

    assert place.erase(GONE_POST) == 1

    assert trace_ids(place) == ["t2"]
    assert trace_ids(place, "bea") == ["t1", "t2"], "another author's row was erased"
    assert place.find_remaining(GONE_POST) == []


def test_an_old_index_is_found_beside_a_folder_without_a_table(place: LanceTables) -> None:
    write_answers(place, ROWS)
    (folder_of(place).parent / "a.lance").mkdir()
    (folder_of(place) / "_indices" / "old").mkdir(parents=True)
    assert place.find_remaining(GONE_POST) == ["ada/interactions: an old index"]


def test_a_row_that_only_names_a_post_is_erased(place: LanceTables) -> None:
    frame = pl.DataFrame(
        {"pair": ["p1", "p2"], "passage_of": ["2019/the-walk.md", "2019/other.md"]}
    )
    store_rows(place.instance.tables, "shadow_pairs", "ada", frame, key="pair")
    assert place.find_rows("shadow_pairs", "ada", GONE_POST).keys == {"p1"}
    assert place.find_derived_keys("shadow_pairs", "ada", GONE_POST) == set()


def test_only_the_erased_authors_tables_are_deleted(place: LanceTables) -> None:
    write_answers(place, ROWS)
    write_answers(place, ROWS, author="bea")
    target = author_target("ada")
    assert place.erase(target) == 1
    assert not folder_of(place).parent.exists()
    assert trace_ids(place, "bea") == ["t1", "t2", "t3"]
    assert place.list_author_folders(target) == []
