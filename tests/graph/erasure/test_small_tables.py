"""Test that rows are erased from the newest and from earlier versions of small tables."""

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
ERASED_READER = reader_target(READER)
ERASED_POST = post_target("ada", "2019/the-walk.md", TEXT, authors=frozenset({"ada"}))
SCHEMA = {"trace_id": pl.String(), "reader": pl.String(), "answer": pl.String()}


@pytest.fixture
def lance_tables(home: Settings) -> LanceTables:
    return LanceTables(Installation.for_settings(home))


def write_answers(
    lance_tables: LanceTables, rows: dict[str, tuple[str, str]], author: str = "ada"
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
    store_rows(lance_tables.installation.tables, "interactions", author, frame, key="trace_id")


def read_trace_ids(
    lance_tables: LanceTables, author: str = "ada", version: str | None = None
) -> list[str]:
    rows = lance_tables.installation.tables.read("interactions", author, version=version)
    return sorted(rows["trace_id"].to_list())


def get_table_folder(lance_tables: LanceTables, author: str = "ada") -> Path:
    return Path(lance_tables.installation.tables.uri("interactions", author))


ROWS = {"t1": (READER, f"a {WORD} one"), "t2": (OTHER, "two"), "t3": (READER, "three")}


def test_a_reader_is_erased_from_the_tables_of_all_authors(lance_tables: LanceTables) -> None:
    write_answers(lance_tables, ROWS)
    write_answers(lance_tables, ROWS, author="bea")
    assert len(lance_tables.find_remaining(ERASED_READER)) == 2

    assert lance_tables.erase(ERASED_READER) == 4

    assert read_trace_ids(lance_tables) == read_trace_ids(lance_tables, "bea") == ["t2"]
    assert lance_tables.find_remaining(ERASED_READER) == []
    assert find_files_with(get_table_folder(lance_tables), WORD) == []
    assert lance_tables.erase(ERASED_READER) == 0


def test_rows_deleted_by_an_edit_are_erased_from_older_versions(lance_tables: LanceTables) -> None:
    write_answers(lance_tables, ROWS)
    write_answers(lance_tables, {"t2": ROWS["t2"]})
    assert find_files_with(get_table_folder(lance_tables), WORD), (
        "the deleted row is in no older version"
    )

    lance_tables.erase(ERASED_READER)

    assert find_files_with(get_table_folder(lance_tables), WORD) == []
    assert lance_tables.find_remaining(ERASED_READER) == []
    assert read_trace_ids(lance_tables) == ["t2"]


def test_a_tagged_version_is_erased_and_keeps_its_tag(lance_tables: LanceTables) -> None:
    write_answers(lance_tables, ROWS)
    lance_tables.installation.tables.tag("interactions", "ada", "trained")
    write_answers(lance_tables, {"t2": ROWS["t2"]})

    assert lance_tables.erase(ERASED_READER) == 2, "not both rows of the tagged version were erased"

    assert read_trace_ids(lance_tables, version="trained") == ["t2"]
    assert find_files_with(get_table_folder(lance_tables), WORD) == []


def test_a_posts_text_is_erased_only_from_the_authors_tables(lance_tables: LanceTables) -> None:
    rows = {"t1": (OTHER, f"She said: {TEXT} Then {WORD}."), "t2": (OTHER, "in March the old one")}
    write_answers(lance_tables, rows)
    write_answers(lance_tables, rows, author="bea")

    assert lance_tables.erase(ERASED_POST) == 1

    assert read_trace_ids(lance_tables) == ["t2"]
    assert read_trace_ids(lance_tables, "bea") == ["t1", "t2"], "another author's row was erased"
    assert lance_tables.find_remaining(ERASED_POST) == []


def test_an_old_index_is_found_beside_a_folder_without_a_table(lance_tables: LanceTables) -> None:
    write_answers(lance_tables, ROWS)
    (get_table_folder(lance_tables).parent / "a.lance").mkdir()
    (get_table_folder(lance_tables) / "_indices" / "old").mkdir(parents=True)
    assert lance_tables.find_remaining(ERASED_POST) == ["ada/interactions: an old index"]


def test_a_row_that_only_names_a_post_is_erased(lance_tables: LanceTables) -> None:
    frame = pl.DataFrame(
        {"pair": ["p1", "p2"], "passage_of": ["2019/the-walk.md", "2019/other.md"]}
    )
    store_rows(lance_tables.installation.tables, "shadow_pairs", "ada", frame, key="pair")
    assert lance_tables.find_rows("shadow_pairs", "ada", ERASED_POST).keys == {"p1"}
    assert lance_tables.find_derived_keys("shadow_pairs", "ada", ERASED_POST) == set()


def test_only_the_erased_authors_tables_are_deleted(lance_tables: LanceTables) -> None:
    write_answers(lance_tables, ROWS)
    write_answers(lance_tables, ROWS, author="bea")
    target = author_target("ada")
    assert lance_tables.erase(target) == 1
    assert not get_table_folder(lance_tables).parent.exists()
    assert read_trace_ids(lance_tables, "bea") == ["t1", "t2", "t3"]
    assert lance_tables.list_author_folders(target) == []
