"""Test importing exports into `raw_posts`: added, changed, deleted and kept posts."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.graph.corpus.conftest import SLUG, Materialize, get_metadata
from tests.unit.corpus.export_files import write_folder, write_zip
from tests.unit.corpus.sample_exports import (
    EXPORTS,
    LINKEDIN,
    RECORD_COUNTS,
    SENTENCE,
    SHARES,
    SKIP_COUNTS,
    build_link,
    build_medium_page,
)
from twin_resources.erasure.journal import record_forgotten_posts
from twin_resources.errors import TwinError
from twin_resources.storage.tables.tables import Tables

Import = Callable[..., dict[str, Any]]


@pytest.fixture
def import_from(import_sources: Materialize) -> Import:
    """Return a function that imports sources as `raw_posts` and returns its metadata."""

    def run(*sources: Path | str, include: tuple[str, ...] = ()) -> dict[str, Any]:
        return get_metadata(import_sources(*sources, include=include), "raw_posts")

    return run


def read_rows(tables: Tables) -> pl.DataFrame:
    return tables.read("raw_posts", SLUG, where="NOT deleted")


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_becomes_rows_and_counts_of_skipped_items(
    name: str, import_from: Import, tables: Tables, tmp_path: Path
) -> None:
    result = import_from(write_zip(EXPORTS[name], tmp_path / "export.zip"))
    assert result["posts"] == result["posts_added"] == RECORD_COUNTS[name]
    assert result["left_out_of_exports"] == SKIP_COUNTS[name]
    assert result["layouts"] == [name]
    rows = read_rows(tables)
    assert set(rows["source"]) == {name}
    assert all(row.startswith(f"{name}/") for row in rows["source_id"])
    assert rows.schema["kind"] == pl.String


def test_a_renamed_unchanged_export_changes_nothing(
    import_from: Import, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write_zip(LINKEDIN, tmp_path / "export.zip")
    import_from(first)
    before, version = read_rows(tables), tables.data_version("raw_posts", SLUG)
    export = first.rename(tmp_path / "export (1).zip")
    result = import_from(export)
    assert result["computed"] == 0
    assert result["written"] == 0
    assert result["bytes_written"] == 0
    assert result["left_out_of_exports"] == SKIP_COUNTS["linkedin"]
    assert tables.data_version("raw_posts", SLUG) == version
    # A higher version reads the export again, but equal rows are no new input downstream.
    monkeypatch.setattr("twin_assets.corpus.raw_posts_import.IMPORT_VERSION", "next")
    result = import_from(export)
    assert result["computed"] == before.height
    assert result["posts_edited"] == 0
    assert result["posts_deleted"] == 0
    assert read_rows(tables).equals(before)


def test_a_newer_export_imports_only_changes(
    import_from: Import, tables: Tables, tmp_path: Path
) -> None:
    first = write_zip(LINKEDIN, tmp_path / "export-05.zip")
    import_from(first)
    first.unlink()
    edited = SHARES.replace("both mine", "both still mine")
    edited = edited[: edited.index("2023-05-04")] + edited[edited.index("2023-05-05") :]
    edited += f"2023-06-01 10:00:00,{build_link(7 << 60)},Something new. {SENTENCE},,,PUBLIC\n"
    result = import_from(write_zip(LINKEDIN | {"Shares.csv": edited}, tmp_path / "export-06.zip"))
    assert {kind: result[f"posts_{kind}"] for kind in ("added", "edited", "deleted")} == {
        "added": 1,
        "edited": 1,
        "deleted": 1,
    }
    assert result["computed"] == 3
    texts = "\n".join(read_rows(tables)["text"])
    assert "both still mine" in texts
    assert "naïve clock" not in texts
    [tombstone] = tables.read("raw_posts", SLUG, where="deleted").to_dicts()
    assert (tombstone["kind"], tombstone["text"]) == ("tombstone", "")


def test_the_newer_of_two_exports_of_an_account_is_used(
    import_from: Import, tables: Tables, tmp_path: Path
) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    newer = LINKEDIN | {"Shares.csv": SHARES.replace("both mine", "both still mine")}
    for name, files, year in (("a.zip", newer, 2025), ("z.zip", LINKEDIN, 2024)):
        write_zip(files, folder / name)
        set_member_dates(folder / name, year)
    result = import_from(folder)
    assert result["posts"] == RECORD_COUNTS["linkedin"]
    assert result["left_out_of_exports"]["older_copy"] == RECORD_COUNTS["linkedin"]
    assert "both still mine" in "\n".join(read_rows(tables)["text"])
    (folder / "a.zip").unlink()
    result = import_from(folder)
    assert (result["posts_edited"], result["posts_deleted"]) == (1, 0)
    assert "both still mine" not in "\n".join(read_rows(tables)["text"])


def set_member_dates(path: Path, year: int) -> None:
    with zipfile.ZipFile(path) as old:
        members = [(name, old.read(name)) for name in old.namelist()]
    with zipfile.ZipFile(path, "w") as new:
        for name, body in members:
            new.writestr(zipfile.ZipInfo(name, date_time=(year, 1, 1, 0, 0, 0)), body)


def test_a_cut_export_deletes_nothing(import_from: Import, tables: Tables, tmp_path: Path) -> None:
    path = write_zip(LINKEDIN, tmp_path / "export.zip")
    import_from(path)
    before = read_rows(tables)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(TwinError, match="an incomplete zip"):
        import_from(path)
    assert read_rows(tables).equals(before)


def test_a_damaged_member_keeps_its_posts_and_is_read_again(
    import_from: Import, tables: Tables, tmp_path: Path
) -> None:
    path = write_zip(LINKEDIN, tmp_path / "export.zip")
    import_from(path)
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[60] ^= 0xFF  # within the packed Shares.csv
    path.write_bytes(damaged)
    for _ in range(2):
        result = import_from(path)
        assert (result["posts_deleted"], result["posts"]) == (0, RECORD_COUNTS["linkedin"])
    path.write_bytes(content)
    assert import_from(path)["computed"] == 0


def test_a_damaged_row_in_a_new_export_deletes_no_post(
    import_from: Import, tables: Tables, tmp_path: Path
) -> None:
    path = write_zip(LINKEDIN, tmp_path / "export.zip")
    import_from(path)
    before = read_rows(tables)
    damaged = SHARES.replace('"Two lines', '"Two\0lines')
    result = import_from(write_zip(LINKEDIN | {"Shares.csv": damaged}, path))
    assert result["posts_deleted"] == 0
    assert result["posts_edited"] == 0
    assert result["computed"] == 0
    assert read_rows(tables).equals(before)
    assert result["left_out_of_exports"] == SKIP_COUNTS["linkedin"] | {"malformed_row": 1}
    # The same bytes contain the same damaged row, which is counted again.
    result = import_from(path)
    assert result["left_out_of_exports"]["malformed_row"] == 1
    assert read_rows(tables).equals(before)
    # A readable export without the row deletes the post.
    lines = SHARES.partition("2023-05-02")[0], SHARES[SHARES.index("2023-05-03") :]
    assert (
        import_from(write_zip(LINKEDIN | {"Shares.csv": "".join(lines)}, path))["posts_deleted"]
        == 1
    )


def test_a_newly_private_post_is_deleted_despite_a_damaged_row(
    import_from: Import, tables: Tables, tmp_path: Path
) -> None:
    path = write_zip(LINKEDIN, tmp_path / "export.zip")
    import_from(path)
    newer = SHARES.replace('"Two lines', '"Two\0lines').replace(
        f"naÃ¯ve clock. {SENTENCE},,,MEMBER_NETWORK", f"naÃ¯ve clock. {SENTENCE},,,CONNECTIONS"
    )
    assert import_from(write_zip(LINKEDIN | {"Shares.csv": newer}, path))["posts_deleted"] == 1
    texts = "\n".join(read_rows(tables)["text"])
    assert "naïve" not in texts
    assert "both mine" in texts


def test_the_newer_of_two_exports_decides_the_visibility(
    import_from: Import, tables: Tables, tmp_path: Path
) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    newer = SHARES.replace('2",,PUBLIC', '2",,CONNECTIONS')
    for name, shares, year in (("a.zip", newer, 2025), ("z.zip", SHARES, 2024)):
        write_zip(LINKEDIN | {"Shares.csv": shares}, folder / name)
        set_member_dates(folder / name, year)
    import_from(folder)
    assert "both mine" not in "\n".join(read_rows(tables)["text"])
    set_member_dates(folder / "z.zip", 2026)  # the newest export makes it public again
    import_from(folder)
    assert "both mine" in "\n".join(read_rows(tables)["text"])


def test_an_empty_export_is_an_error_and_deletes_nothing(
    import_from: Import, tables: Tables, tmp_path: Path
) -> None:
    path = write_zip(LINKEDIN, tmp_path / "export.zip")
    import_from(path)
    path.unlink()
    write_zip({"Shares.csv": SHARES.split("\n", maxsplit=1)[0] + "\n"}, path)
    with pytest.raises(TwinError, match="no post to import"):
        import_from(path)
    assert read_rows(tables).height == RECORD_COUNTS["linkedin"]


def test_opt_ins_add_and_remove_posts(import_from: Import, tables: Tables, tmp_path: Path) -> None:
    path = write_zip(LINKEDIN, tmp_path / "export.zip")
    import_from(path)
    result = import_from(path, include=("drafts", "followers"))
    assert (result["posts_added"], result["computed"]) == (2, 2)
    rows = read_rows(tables).filter(pl.col("visibility") != "public").sort("visibility")
    assert rows.select("kind", "visibility").rows() == [("post", "followers"), ("post", "private")]
    assert import_from(path)["posts_deleted"] == 2


def test_an_erased_post_is_not_imported_again(
    import_from: Import, tables: Tables, tmp_path: Path
) -> None:
    path = write_zip(LINKEDIN, tmp_path / "export.zip")
    import_from(path)
    erased_post = read_rows(tables).filter(pl.col("text").str.contains("naïve")).to_dicts()[0]
    record_forgotten_posts(
        tables.state, SLUG, [erased_post["source_id"]], [erased_post["content_hash"]]
    )
    tables.forget("raw_posts", SLUG, keys=[erased_post["source_id"]])
    newer = SHARES + f"2023-06-01 10:00:00,{build_link(7 << 60)},New. {SENTENCE},,,PUBLIC\n"
    # The same text again with another identifier.
    newer += f"2023-06-02 10:00:00,{build_link(7 << 61)},{erased_post['text']},,,PUBLIC\n"
    write_zip(LINKEDIN | {"Shares.csv": newer}, path)
    import_from(path)
    assert not read_rows(tables)["text"].str.contains("naïve").any()
    assert read_rows(tables).height == RECORD_COUNTS["linkedin"]  # one less, one more


def build_feed(*numbers: int) -> str:
    items = "".join(
        f"<item><title>Post {n}</title><link>https://example.org/{n}</link>"
        f"<guid>https://example.org/{n}</guid><description>&lt;p&gt;Number {n}. {SENTENCE}"
        "&lt;/p&gt;</description></item>"
        for n in numbers
    )
    return (
        f'<?xml version="1.0"?><rss version="2.0"><channel><title>x</title>{items}</channel></rss>'
    )


def test_posts_that_a_feed_drops_are_kept(
    import_from: Import, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "feed.xml"
    path.write_text(build_feed(1, 2))
    import_from(path)
    path.write_text(build_feed(2, 3))
    result = import_from(path)
    assert result["posts_added"] == 1
    assert result["posts_deleted"] == 0
    assert result["posts"] == 3
    # A new version of the importers reads everything again; the first post is only in the table.
    monkeypatch.setattr("twin_assets.corpus.raw_posts_import.IMPORT_VERSION", "next")
    result = import_from(path)
    assert result["computed"] == 3
    assert read_rows(tables)["text"].str.contains("Number 1").any()


def test_exports_and_plain_posts_of_one_author_are_combined(
    import_from: Import, tables: Tables, tmp_path: Path
) -> None:
    notes = write_folder({"a.md": SENTENCE, "b.md": f"Other. {SENTENCE}"}, tmp_path / "notes")
    page = {"posts/2020-01-02_A-bbbbbbbbbbbb.html": build_medium_page(f"<p>{SENTENCE}</p>")}
    result = import_from(
        notes,
        write_zip(LINKEDIN, tmp_path / "linkedin.zip"),
        write_folder(
            {
                "posts/2020-01-02_On-clocks-0123456789ab.html": EXPORTS["medium"][
                    "posts/2020-01-02_On-clocks-0123456789ab.html"
                ],
                **{name.replace("2020-01-02_A", "draft_A"): text for name, text in page.items()},
            },
            tmp_path / "medium-export",
        ),
    )
    assert result["layouts"] == ["notes", "linkedin", "medium"]
    counts = dict(read_rows(tables).group_by("source").len().rows())
    assert counts == {str(notes): 2, "linkedin": RECORD_COUNTS["linkedin"], "medium": 1}
    assert import_from(notes, tmp_path / "linkedin.zip")["posts_deleted"] == 1
