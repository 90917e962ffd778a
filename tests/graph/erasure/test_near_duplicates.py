"""Test that a post loses only its link when its near-duplicate is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graph.erasure.conftest import AUTHOR, UsedHome, build_post, run_assets
from tests.graph.erasure.planted_words import find_files_with
from twin_resources.authors import read_author
from twin_resources.erasure import journal
from twin_resources.erasure.certificate import read_certificate
from twin_resources.erasure.erasing import run_erasure
from twin_resources.erasure.erasure_target import ErasureSubject

COPY, WORD = "_posts/2021-05-06-the-clock-once-more.md", "snickerbell"
ORIGINAL = "_posts/2020-01-02-clock.md"


@pytest.fixture
def copy_path(used_home: UsedHome) -> Iterator[Path]:
    """Write a later, shorter copy of one of the author's posts, with one unique word."""
    [folder] = read_author(used_home.settings, AUTHOR).sources
    path = Path(folder) / COPY
    sentences = build_post("clock").split(". ")
    path.write_text(". ".join([*sentences[:-2], f"The {WORD} rang once"]) + ".\n", "utf-8")
    yield path
    path.unlink()


@pytest.mark.long
def test_the_remaining_row_loses_only_its_link(used_home: UsedHome, copy_path: Path) -> None:
    assert copy_path.is_file()
    installation = used_home.installation
    with used_home.dagster() as dagster:
        assert run_assets(dagster, "raw_posts", "cleaned_documents").success
        installation.tables.tag("cleaned_documents", AUTHOR, "pinned")
        before = installation.tables.read("cleaned_documents", AUTHOR)
        [row] = before.filter(before["source_id"] == ORIGINAL).to_dicts()
        [copy] = before.filter(before["source_id"] == COPY).to_dicts()
        assert row["kept"]
        assert not copy["kept"]
        assert [item["document_id"] for item in row["copies"]] == [copy["document_id"]]

        number = journal.open_request(
            installation.state, ErasureSubject("post", AUTHOR, COPY), asked_by="test"
        )
        result = run_erasure(installation, number, dagster=used_home.records(installation))
        assert read_certificate(result)["places"]["tables"] >= 3  # the post, its document, the link

        after = installation.tables.read("cleaned_documents", AUTHOR)
        assert after.filter(after["source_id"] == ORIGINAL).to_dicts() == [row | {"copies": []}]
        assert after.height == before.height - 1
        pinned = installation.tables.read("cleaned_documents", AUTHOR, version="pinned")
        assert pinned.equals(after)
        home = used_home.settings.home
        assert find_files_with(home, WORD) == []
        assert find_files_with(home, copy["document_id"]) == []
        assert find_files_with(home, COPY) == []

        # The table's data version is correct: the next cleaning changes nothing.
        version = installation.tables.data_version("cleaned_documents", AUTHOR)
        assert run_assets(dagster, "raw_posts", "cleaned_documents").success
        assert installation.tables.data_version("cleaned_documents", AUTHOR) == version
        documents = installation.tables.read("cleaned_documents", AUTHOR)
        assert documents.sort("document_id").equals(after.sort("document_id"))
    installation.state.close()
