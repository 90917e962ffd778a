"""A forgotten row is in no file of the table; every file is decoded, not just searched."""

from __future__ import annotations

from pathlib import Path

import pytest
from lance.file import LanceFileReader

from tests.graph.tables.words import index_full_text, sync_words
from twin_resources.storage.tables.tables import TableNotFoundError, Tables

TEXTS = {f"p{number}": f"shared word{number} filler{number}" for number in range(60)}
SECRET = TEXTS | {"secret": "shared canarybird"}


def words_of_file(file: Path) -> str | None:
    """Everything that a Lance data or index file holds, as text; None when it is another format."""
    if file.suffix != ".lance":
        return None
    return str(LanceFileReader(str(file)).read_all().to_table().to_pydict())


def files_with(folder: Path, word: str) -> list[str]:
    """Files that hold a word, plainly or once decoded."""
    return [
        file.name
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and (word.encode() in file.read_bytes() or word in (words_of_file(file) or ""))
    ]


@pytest.fixture
def with_secret(tables: Tables) -> Tables:
    sync_words(tables, SECRET, batch_rows=20)
    tables.ensure_index("words", "mara", "word_id")
    index_full_text(tables, with_position=True)
    return tables


def folder_of(tables: Tables) -> Path:
    return Path(tables.uri("words", "mara"))


def test_a_row_deleted_by_rework_alone_can_still_be_decoded(with_secret: Tables) -> None:
    """The reason for `forget`: if this test fails, Lance has changed."""
    sync_words(with_secret, TEXTS)
    assert with_secret.read("words", "mara", where="word = 'canarybird'").is_empty()
    assert files_with(folder_of(with_secret), "canarybird")


def test_no_file_holds_a_forgotten_row(with_secret: Tables) -> None:
    with_secret.tag("words", "mara", "trained-on-it")
    before = sync_words(with_secret, TEXTS)
    with_secret.tag("words", "mara", "trained-without")
    report = with_secret.forget("words", "mara", ["secret#0", "secret#1"])
    assert report.rows == 0, "sync had deleted it"
    assert report.removed_tags == ("trained-on-it",)
    assert report.bytes_removed > 0
    assert files_with(folder_of(with_secret), "canarybird") == []
    assert files_with(folder_of(with_secret), "word7") != [], "the search finds what is there"
    assert with_secret.data_version("words", "mara") == before.data_version
    assert with_secret.read("words", "mara", version="trained-without").height == 180
    assert sync_words(with_secret, TEXTS).computed == 0


def test_forgetting_a_row_that_is_there_deletes_it(with_secret: Tables) -> None:
    report = with_secret.forget("words", "mara", ["secret#0", "secret#1"])
    assert report.rows == 2
    assert files_with(folder_of(with_secret), "canarybird") == []
    assert with_secret.read("words", "mara").height == 180
    assert (
        with_secret.data_version("words", "mara")
        == sync_words(with_secret, TEXTS, author="alone").data_version
    )


def test_the_full_text_index_still_answers_after_forgetting(with_secret: Tables) -> None:
    import lancedb

    with_secret.forget("words", "mara", ["secret#0", "secret#1"])
    folder = f"{with_secret.base_uri}/mara"
    table = lancedb.connect(folder).open_table("words")
    assert [row["word"] for row in table.search("word7", query_type="fts").to_list()] == ["word7"]
    assert table.search("canarybird", query_type="fts").to_list() == []


def test_what_is_remembered_of_an_empty_input_is_forgotten_too(tables: Tables) -> None:
    sync_words(tables, {"a": "x", "silent": ""})
    assert sync_words(tables, {"a": "x", "silent": ""}).computed == 0
    tables.forget("words", "mara", ["silent"])
    assert sync_words(tables, {"a": "x", "silent": ""}).computed == 1


def test_forgetting_in_a_missing_table_says_so(tables: Tables) -> None:
    with pytest.raises(TableNotFoundError):
        tables.forget("words", "mara", ["a#0"])
