"""Test that an import continues its preview, and a preview the earlier import."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.graph.corpus.conftest import SLUG, Materialize, get_metadata, narrate
from tests.previews import preview_author
from twin_assets.corpus import cleaning, raw_posts_import
from twin_assets.corpus.preview import preview
from twin_assets.corpus.preview_tables import PREVIEW_TAG, open_preview_tables
from twin_resources.authors import Author
from twin_resources.erasure.journal import record_forgotten_posts
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

KITE = "_posts/2022-05-01-kite.md"


@pytest.fixture
def worked_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each post is added that is read, and that is cleaned."""
    names: list[str] = []
    read_post, prepare_posts = raw_posts_import.read_post, cleaning.prepare_posts

    def record_reading(body: bytes, *, source_id: str, **options: object) -> object:
        names.append(f"read {Path(source_id).stem[11:]}")
        return read_post(body, source_id=source_id, **options)  # type: ignore[arg-type]

    def record_cleaning(posts: pl.DataFrame, **options: object) -> pl.DataFrame:
        names.extend(f"clean {Path(name).stem[11:]}" for name in posts["source_id"].sort())
        return prepare_posts(posts, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(raw_posts_import, "read_post", record_reading)
    monkeypatch.setattr(cleaning, "prepare_posts", record_cleaning)
    return names


@pytest.fixture
def preview_tables(home: Settings, author: Author) -> Iterator[Tables]:
    """Preview the three posts, and keep the preview's tables."""
    with open_preview_tables(home) as tables:
        assert preview(author, tables, home).kept == 3
        yield tables


def add_kite(posts: Path) -> None:
    (posts / KITE).write_text(f"# A kite\n\n{narrate('kite')}\n")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("none", []),
        ("an edit", ["read boat", "clean boat"]),
        # The command ended before its run: what is gone is read again.
        ("no tables", ["read clock", "read boat", "read lamp"]),
    ],
)
def test_an_import_reads_and_cleans_only_what_changed_since_its_preview(
    change: str,
    expected: list[str],
    preview_tables: Tables,
    worked_on: list[str],
    materialize: Materialize,
    tables: Tables,
    posts: Path,
) -> None:
    worked_on.clear()
    if change == "an edit":
        (posts / "_posts" / "2020-05-01-boat.md").write_text(f"# A boat\n\n{narrate('raft')}\n")
    elif change == "no tables":
        shutil.rmtree(Path(preview_tables.base_uri) / SLUG / "raw_posts.lance" / "data")
    result = materialize(tags={PREVIEW_TAG: preview_tables.base_uri})
    assert worked_on == expected
    numbers = get_metadata(result, "raw_posts")
    assert (numbers["posts_added"], numbers["posts"]) == (3, 3)
    versions = [tables.data_version(name, SLUG) for name in ("raw_posts", "cleaned_documents")]
    shutil.rmtree(Path(tables.base_uri) / SLUG)
    materialize()  # without a preview
    assert versions == [
        tables.data_version(name, SLUG) for name in ("raw_posts", "cleaned_documents")
    ]


def test_a_preview_reads_and_cleans_only_what_changed_since_the_import(
    materialize: Materialize, worked_on: list[str], home: Settings, author: Author, posts: Path
) -> None:
    materialize()
    folder = posts / "_posts"
    (folder / "2019-05-01-clock.md").unlink()
    (folder / "2020-05-01-boat.md").write_text(f"# A boat\n\n{narrate('raft')}\n")
    add_kite(posts)
    worked_on.clear()
    result = preview_author(home, author)
    assert sorted(worked_on) == [
        "clean boat",
        "clean clock",
        "clean kite",
        "read boat",
        "read kite",
    ]
    assert result.changes == {"added": 1, "edited": 1, "deleted": 1}
    assert (result.found, result.kept, result.dropped) == (3, 3, {})


def test_a_preview_with_another_name_reads_and_cleans_nothing_again(
    preview_tables: Tables, worked_on: list[str], home: Settings, author: Author
) -> None:
    worked_on.clear()
    named = replace(author, aliases=("Pepe",))
    result = preview(named, preview_tables, home)
    assert (worked_on, result.kept, result.changes) == ([], 3, None)


def test_a_post_that_is_forgotten_after_the_preview_is_not_imported(
    preview_tables: Tables, materialize: Materialize, tables: Tables
) -> None:
    hashes = preview_tables.read("raw_posts", SLUG, columns=["source_id", "content_hash"])
    clock, boat = ("_posts/2019-05-01-clock.md", "_posts/2020-05-01-boat.md")
    boat_text = hashes.filter(source_id=boat)["content_hash"].to_list()  # at another path
    record_forgotten_posts(tables.state, SLUG, [clock], boat_text)
    materialize(tags={PREVIEW_TAG: preview_tables.base_uri})
    for name in ("raw_posts", "cleaned_documents"):
        stored = tables.read(name, SLUG, columns=["source_id"])["source_id"].to_list()
        assert stored == ["_posts/2021-05-01-lamp.md"]
