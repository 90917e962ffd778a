"""Test `raw_posts`, `cleaned_documents` and `embeddings` on real tables, run by Dagster."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests.graph.corpus.conftest import ASSETS, RESOURCES, SLUG, Materialize, get_metadata, narrate
from twin_assets.corpus import cleaning
from twin_assets.knowledge import passages
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

ASSET_NAMES = ("raw_posts", "cleaned_documents", "embeddings")


def count_computed(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    return {name: get_metadata(result, name)["computed"] for name in ASSET_NAMES}


def read_versions(tables: Tables) -> dict[str, str | None]:
    return {name: tables.data_version(name, SLUG) for name in ASSET_NAMES}


def read_reasons(tables: Tables) -> dict[str, str]:
    frame = tables.read("cleaned_documents", SLUG, columns=["source_id", "dropped_because"])
    return dict(frame.rows())


def test_first_import_fills_the_three_tables(materialize: Materialize, tables: Tables) -> None:
    result = materialize()
    assert count_computed(result) == dict.fromkeys(ASSET_NAMES, 3)
    raw = tables.read("raw_posts", SLUG)
    assert raw["source_id"].to_list() == [
        "_posts/2019-05-01-clock.md",
        "_posts/2020-05-01-boat.md",
        "_posts/2021-05-01-lamp.md",
    ]
    assert raw["created_at"].dt.year().to_list() == [2019, 2020, 2021]
    assert raw.schema["created_at"] == pl.Datetime("us", "UTC")
    documents = tables.read("cleaned_documents", SLUG)
    assert documents["kept"].all()
    chunks = tables.read("embeddings", SLUG)
    texts = dict(documents.select("document_id", "text").rows())
    assert chunks.height > 3
    assert max(chunks["text"].str.len_chars()) <= passages.MAX_CHARACTERS
    for chunk in chunks.to_dicts():
        assert texts[chunk["document_id"]][chunk["start"] : chunk["end"]] == chunk["text"]
    for check in ("every_import_is_kept_or_explained", "passages_are_verbatim"):
        assert find_evaluation(result, check).passed, check


@pytest.mark.long
def test_a_second_run_computes_and_writes_nothing(
    materialize: Materialize, tables: Tables, instance: dg.DagsterInstance
) -> None:
    materialize()
    before = read_versions(tables)
    lance_versions = [tables.lance_version(name, SLUG) for name in ASSET_NAMES]
    second = materialize()
    assert count_computed(second) == dict.fromkeys(ASSET_NAMES, 0)
    for name in ASSET_NAMES:
        numbers = get_metadata(second, name)
        assert (numbers["written"], numbers["deleted"], numbers["bytes_written"]) == (0, 0, 0)
    assert read_versions(tables) == before
    assert [tables.lance_version(name, SLUG) for name in ASSET_NAMES] == lance_versions


def test_added_edited_and_deleted_posts_propagate(
    materialize: Materialize, tables: Tables, posts: Path
) -> None:
    materialize()
    lamp_chunks = read_chunk_ids(tables, "On the lamp")
    boat_chunks = read_chunk_ids(tables, "On the boat")
    folder = posts / "_posts"
    (folder / "2022-01-01-kite.md").write_text(f"# A kite\n\n{narrate('kite')}\n")
    boat = folder / "2020-05-01-boat.md"
    boat.write_text(boat.read_text().replace("old boat", "new boat"))
    (folder / "2019-05-01-clock.md").unlink()

    result = materialize()

    raw = get_metadata(result, "raw_posts")
    assert (raw["posts_added"], raw["posts_edited"], raw["posts_deleted"]) == (1, 1, 1)
    assert count_computed(result)["raw_posts"] == 3
    assert count_computed(result)["cleaned_documents"] == 3
    clock = tables.read("raw_posts", SLUG, where="source_id = '_posts/2019-05-01-clock.md'")
    assert clock.select("deleted", "kind", "text", "title").rows() == [(True, "tombstone", "", "")]
    assert read_reasons(tables)["_posts/2019-05-01-clock.md"] == "deleted_at_the_source"
    assert read_chunk_ids(tables, "On the clock") == set()
    assert read_chunk_ids(tables, "A kite")
    assert read_chunk_ids(tables, "On the lamp") == lamp_chunks
    texts = tables.read("embeddings", SLUG)["text"].str.join(" ")[0]
    assert "new boat" in texts
    assert "old boat" not in texts
    # The first paragraph of the edited post did not change, so its passage keeps its id.
    assert read_chunk_ids(tables, "On the boat") & boat_chunks
    assert find_evaluation(result, "every_import_is_kept_or_explained").passed

    third = materialize()
    assert count_computed(third) == dict.fromkeys(ASSET_NAMES, 0)
    # A tombstone is not deleted again.
    assert get_metadata(third, "raw_posts")["posts_deleted"] == 0


@pytest.mark.long
def test_ten_new_posts_compute_ten_documents(
    materialize: Materialize, tables: Tables, posts: Path
) -> None:
    folder = posts / "_posts"
    for n in range(200):
        (folder / f"2010-01-01-{n:03}.md").write_text(f"# Post {n}\n\n{narrate(f'subject {n}')}")
    first = materialize()
    for n in range(200, 210):
        (folder / f"2010-01-01-{n:03}.md").write_text(f"# Post {n}\n\n{narrate(f'subject {n}')}")
    second = materialize()
    assert count_computed(second) == dict.fromkeys(ASSET_NAMES, 10)
    for name in ASSET_NAMES:
        before, after = get_metadata(first, name), get_metadata(second, name)
        assert after["written"] == after["dagster/row_count"] - before["dagster/row_count"]
        # Every commit writes a manifest of some kilobytes, but not the older posts.
        assert after["bytes_written"] < before["bytes_written"] / 2, name


@pytest.mark.long
def test_a_restored_post_is_imported_again(
    materialize: Materialize, tables: Tables, posts: Path
) -> None:
    clock = posts / "_posts" / "2019-05-01-clock.md"
    text = clock.read_text()
    materialize()
    first = read_versions(tables)
    clock.unlink()
    materialize()
    assert read_reasons(tables)["_posts/2019-05-01-clock.md"] == "deleted_at_the_source"
    clock.write_text(text)
    materialize()
    assert read_versions(tables) == first


def test_unusable_posts_have_reasons_and_affect_no_other(
    materialize: Materialize, tables: Tables, posts: Path
) -> None:
    folder = posts / "_posts"
    (folder / "2022-01-01-torn.md").write_bytes("Ein schöner Tag".encode("utf-16")[:-1])
    (folder / "2022-01-01-latin.md").write_bytes(
        f"---\ntitle: Über Uhren\n---\n\n{narrate('Größe')}".encode("latin-1")
    )
    (folder / "2022-01-02-binary.md").write_bytes(b"\x00\x01\x02" * 50)
    (folder / "2022-01-03-broken.md").write_text("---\ntitle: never closed\n\ntext\n")
    (folder / "2022-01-04-huge.md").write_bytes(b"a word " * (50_000_000 // 7))
    (folder / "2022-01-05-empty.md").write_text("")
    (folder / "2022-01-06-short.md").write_text("Just three words.")
    (folder / "2022-01-07-draft.md").write_text(f"---\npublished: false\n---\n{narrate('x')}")
    result = materialize()
    assert read_reasons(tables) == {
        "_posts/2019-05-01-clock.md": "",
        "_posts/2020-05-01-boat.md": "",
        "_posts/2021-05-01-lamp.md": "",
        "_posts/2022-01-01-latin.md": "",
        "_posts/2022-01-01-torn.md": "not_utf8",
        "_posts/2022-01-02-binary.md": "binary",
        "_posts/2022-01-03-broken.md": "broken_front_matter",
        "_posts/2022-01-04-huge.md": "too_large",
        "_posts/2022-01-05-empty.md": "empty",
        "_posts/2022-01-06-short.md": "too_short",
        "_posts/2022-01-07-draft.md": "draft",
    }
    assert get_metadata(result, "cleaned_documents")["dropped"] == {
        reason: 1 for reason in sorted(read_reasons(tables).values(), reverse=True) if reason
    }
    assert find_evaluation(result, "every_import_is_kept_or_explained").passed
    assert get_metadata(result, "raw_posts")["converted_from"] == {"windows-1252": 1}
    rows = tables.read("raw_posts", SLUG, where="encoding != ''")
    assert rows["title"].to_list() == ["Über Uhren"]
    assert "Größe" in rows["text"][0]


@pytest.mark.long
def test_an_unreadable_file_keeps_its_last_import(
    materialize: Materialize, tables: Tables, posts: Path
) -> None:
    materialize()
    before = read_versions(tables)
    boat = posts / "_posts" / "2020-05-01-boat.md"
    boat.unlink()
    os.mkfifo(boat)  # Even root cannot read a pipe without a writer.
    result = materialize()
    assert count_computed(result)["raw_posts"] == 0
    assert read_versions(tables) == before


@pytest.mark.long
def test_a_missing_source_is_an_error_and_deletes_nothing(
    materialize: Materialize, tables: Tables, posts: Path
) -> None:
    materialize()
    before = read_versions(tables)
    posts.rename(posts.with_name("moved"))
    result = materialize(raise_on_error=False)
    assert not result.success
    assert read_versions(tables) == before


def test_a_lost_post_fails_the_check_and_stops_the_chunks(
    materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_rows = cleaning.build_document_rows
    monkeypatch.setattr(cleaning, "build_document_rows", lambda *frames: build_rows(*frames)[1:])
    result = materialize(raise_on_error=False)
    check = find_evaluation(result, "every_import_is_kept_or_explained")
    assert not check.passed
    assert check.metadata["missing"].value == 1
    assert not result.success
    assert not result.asset_materializations_for_node("embeddings")


@pytest.mark.long
def test_lost_text_fails_the_check(
    materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = passages.split_into_passages
    monkeypatch.setattr(
        passages, "split_into_passages", lambda text, **options: split(text, **options)[:1]
    )
    result = materialize(raise_on_error=False)
    check = find_evaluation(result, "passages_are_verbatim")
    assert not check.passed
    assert check.metadata["incomplete_posts"].value == 3


@pytest.mark.long
def test_two_sources_form_one_corpus(
    materialize: Materialize, tables: Tables, posts: Path, home: Settings, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    (notes / "_posts").mkdir(parents=True)
    (notes / "_posts" / "2019-05-01-clock.md").write_text(f"# Another clock\n\n{narrate('bell')}")
    write_author(home, Author(SLUG, "José Núñez", sources=(str(posts), str(notes))))
    materialize()
    assert set(read_reasons(tables)) >= {
        "_posts/2019-05-01-clock.md",
        "notes/_posts/2019-05-01-clock.md",
    }
    write_author(home, Author(SLUG, "José Núñez", sources=(str(posts),)))
    materialize()
    assert read_reasons(tables)["notes/_posts/2019-05-01-clock.md"] == "deleted_at_the_source"


@pytest.mark.long
def test_a_frame_is_loaded_by_partition(
    materialize: Materialize, instance: dg.DagsterInstance
) -> None:
    materialize()
    definitions = dg.Definitions(assets=ASSETS, resources=RESOURCES)
    frame = definitions.load_asset_value("cleaned_documents", partition_key=SLUG, instance=instance)
    assert isinstance(frame, pl.DataFrame)
    assert frame.height == 3


def read_chunk_ids(tables: Tables, title: str) -> set[str]:
    chunks = tables.read("embeddings", SLUG, columns=["chunk_id", "title"])
    return set(chunks.filter(pl.col("title") == title)["chunk_id"])


def find_evaluation(result: dg.ExecuteInProcessResult, check: str) -> dg.AssetCheckEvaluation:
    [check_result] = [
        check_result
        for check_result in result.get_asset_check_evaluations()
        if check_result.check_name == check
    ]
    return check_result
