"""Test that no file of a table contains a forgotten row; every file is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
from lance.file import LanceFileReader

from tests.graph.tables.words import index_full_text, sync_words
from twin_resources.storage.tables.tables import TableNotFoundError, Tables

TEXTS = {f"p{number}": f"shared word{number} filler{number}" for number in range(60)}
TEXTS_WITH_SECRET = TEXTS | {"secret": "shared canarybird"}


def decode_file(file: Path) -> str | None:
    """Return the content of a Lance data or index file as text; None for another format."""
    if file.suffix != ".lance":
        return None
    return str(LanceFileReader(str(file)).read_all().to_table().to_pydict())


def find_files_with(folder: Path, word: str) -> list[str]:
    """Return the files that contain a word, as plain bytes or after decoding."""
    return [
        file.name
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and (word.encode() in file.read_bytes() or word in (decode_file(file) or ""))
    ]


@pytest.fixture
def secret_tables(tables: Tables) -> Tables:
    sync_words(tables, TEXTS_WITH_SECRET, batch_rows=20)
    tables.ensure_index("words", "mara", "word_id")
    index_full_text(tables, with_position=True)
    return tables


def table_path(tables: Tables) -> Path:
    return Path(tables.uri("words", "mara"))


def test_no_file_holds_a_forgotten_row(secret_tables: Tables) -> None:
    secret_tables.tag("words", "mara", "trained-on-it")
    before = sync_words(secret_tables, TEXTS)
    secret_tables.tag("words", "mara", "trained-without")
    # This is why `forget` exists: files still contain the row that the sync deleted.
    assert find_files_with(table_path(secret_tables), "canarybird")
    report = secret_tables.forget("words", "mara", ["secret#0", "secret#1"])
    assert report.row_count == 0, "the sync had not deleted the rows"
    assert report.removed_tags == ("trained-on-it",)
    assert report.bytes_removed > 0
    assert find_files_with(table_path(secret_tables), "canarybird") == []
    assert find_files_with(table_path(secret_tables), "word7") != [], "the search finds nothing"
    assert secret_tables.data_version("words", "mara") == before.data_version
    assert secret_tables.read("words", "mara", version="trained-without").height == 180
    assert sync_words(secret_tables, TEXTS).computed_count == 0


def test_forgetting_an_existing_row_deletes_it_from_the_table_and_its_index(
    secret_tables: Tables,
) -> None:
    import lancedb

    report = secret_tables.forget("words", "mara", ["secret#0", "secret#1"])
    assert report.row_count == 2
    assert find_files_with(table_path(secret_tables), "canarybird") == []
    assert secret_tables.read("words", "mara").height == 180
    assert (
        secret_tables.data_version("words", "mara")
        == sync_words(secret_tables, TEXTS, author="alone").data_version
    )
    table = lancedb.connect(f"{secret_tables.base_uri}/mara").open_table("words")
    assert [row["word"] for row in table.search("word7", query_type="fts").to_list()] == ["word7"]
    assert table.search("canarybird", query_type="fts").to_list() == []


def test_the_record_of_an_empty_input_is_forgotten_too(tables: Tables) -> None:
    sync_words(tables, {"a": "x", "silent": ""})
    assert sync_words(tables, {"a": "x", "silent": ""}).computed_count == 0
    tables.forget("words", "mara", ["silent"])
    assert sync_words(tables, {"a": "x", "silent": ""}).computed_count == 1


def test_forgetting_in_a_missing_table_is_an_error(tables: Tables) -> None:
    with pytest.raises(TableNotFoundError):
        tables.forget("words", "mara", ["a#0"])
