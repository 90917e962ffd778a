"""Test the inventory of sources, its changes, and tombstones."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from twin_assets.corpus.importers.suffixes import MAX_POST_BYTES
from twin_assets.corpus.inventory import take_inventory
from twin_assets.corpus.raw_posts_import import (
    STORED_COLUMNS,
    build_inventory_frame,
    count_changes,
    read_rows,
)
from twin_resources.errors import TwinError


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.md").write_text(f"# {name}\n\nText of {name}\n")
    return folder


def import_folder(folder: Path, stored: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return the columns that the table stores after an import of the folder."""
    inventory = take_inventory([folder])
    return read_rows(build_inventory_frame(inventory, stored), inventory).select(STORED_COLUMNS)


def test_the_same_folder_gives_the_same_frame(posts: Path) -> None:
    inventory = take_inventory([posts])
    first = build_inventory_frame(inventory)
    assert build_inventory_frame(inventory, import_folder(posts)).equals(first)
    assert count_changes(first, None) == {"added": 3, "edited": 0, "deleted": 0}
    assert count_changes(first, import_folder(posts)) == {"added": 0, "edited": 0, "deleted": 0}


def test_added_edited_and_deleted_posts_are_counted(posts: Path) -> None:
    first = import_folder(posts)
    (posts / "a.md").unlink()
    (posts / "b.md").write_text("# b\n\nanother text\n")
    (posts / "d.md").write_text("# d\n\nText\n")
    frame = build_inventory_frame(take_inventory([posts]), first)
    assert count_changes(frame, first) == {"added": 1, "edited": 1, "deleted": 1}
    second = import_folder(posts, first)
    assert second.filter("deleted")["source_id"].to_list() == ["a.md"]
    assert count_changes(build_inventory_frame(take_inventory([posts]), second), second) == {
        "added": 0,
        "edited": 0,
        "deleted": 0,
    }


def test_an_unreadable_file_keeps_its_row(posts: Path) -> None:
    stored = import_folder(posts)
    first_frame = build_inventory_frame(take_inventory([posts]))
    (posts / "b.md").unlink()
    os.mkfifo(posts / "b.md")
    frame = build_inventory_frame(take_inventory([posts]), stored)
    assert frame.equals(first_frame)
    assert count_changes(frame, stored) == {"added": 0, "edited": 0, "deleted": 0}


def test_a_file_never_read_gets_a_reason(posts: Path) -> None:
    os.mkfifo(posts / "pipe.md")
    with (posts / "huge.md").open("wb") as stream:
        stream.truncate(MAX_POST_BYTES + 1)
    inventory = take_inventory([posts])
    rows = read_rows(build_inventory_frame(inventory), inventory)
    problems = dict(rows.filter(pl.col("problem") != "").select("source_id", "problem").rows())
    assert problems == {"huge.md": "too_large", "pipe.md": "unreadable"}
    assert rows.height == 5


def test_a_post_with_a_future_date_is_read_daily(tmp_path: Path) -> None:
    folder = tmp_path / "_posts"
    folder.mkdir()
    (folder / "2999-01-01-a.md").write_text("Text of a\n")
    (folder / "2019-01-01-b.md").write_text("Text of b\n")
    stored = import_folder(tmp_path)
    assert dict(stored.select("source_id", "problem").rows()) == {
        "_posts/2019-01-01-b.md": "",
        "_posts/2999-01-01-a.md": "not_yet_published",
    }
    frame = build_inventory_frame(take_inventory([tmp_path]), stored)
    today = datetime.now(UTC).date().isoformat()
    assert dict(frame.select("source_id", "again").rows()) == {
        "_posts/2019-01-01-b.md": "",
        "_posts/2999-01-01-a.md": today,
    }
    assert count_changes(frame, stored) == {"added": 0, "edited": 0, "deleted": 0}


def test_a_file_removed_between_scan_and_read_is_retried(posts: Path) -> None:
    inventory = take_inventory([posts])
    text = (posts / "b.md").read_text()
    (posts / "b.md").unlink()
    stored = read_rows(build_inventory_frame(inventory), inventory)
    assert stored.filter(source_id="b.md")["problem"].to_list() == ["unreadable"]
    (posts / "b.md").write_text(text)
    second_frame = build_inventory_frame(take_inventory([posts]), stored.select(STORED_COLUMNS))
    assert second_frame.filter(pl.col("again") != "")["source_id"].to_list() == ["b.md"]
    assert import_folder(posts, stored.select(STORED_COLUMNS))["problem"].to_list() == [""] * 3


def test_an_unlistable_folder_deletes_no_posts(
    posts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (posts / "more").mkdir()
    (posts / "more" / "d.md").write_text("# d\n\nText\n")
    stored = import_folder(posts)
    scandir = os.scandir

    def refuse(path: object) -> object:  # simulated, because root can list every folder
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refuse)
    inventory = take_inventory([posts])
    assert inventory.skipped_counts == {"folder that cannot be listed": 1}
    frame = build_inventory_frame(inventory, stored)
    assert not frame["deleted"].any()
    assert count_changes(frame, stored) == {"added": 0, "edited": 0, "deleted": 0}


def test_two_sources_with_one_path_stay_two_posts(posts: Path, tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    (other_folder / "a.md").write_text("# Another a\n\nText\n")
    inventory = take_inventory([posts, other_folder])
    rows = read_rows(build_inventory_frame(inventory), inventory)
    assert dict(rows.select("source_id", "title").rows()) == {
        "a.md": "a",
        "b.md": "b",
        "c.md": "c",
        "other/a.md": "Another a",
    }


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no files"),
        ({"a.tex": "text", "b.png": "image", "c.tex": "text"}, "2 × tex file"),
        ({"robots.txt": "text", "requirements-dev.txt": "text"}, "2 × txt file"),
        ({"README.md": "# About"}, "about the folder"),
        ({"Shares.csv": "Date,ShareLink,ShareCommentary"}, "LinkedIn"),
    ],
)
def test_a_folder_without_posts_is_described_in_the_error(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(TwinError, match=message):
        take_inventory([tmp_path])


def test_an_empty_source_among_several_is_an_error(posts: Path, tmp_path: Path) -> None:
    (tmp_path / "unmounted").mkdir()
    with pytest.raises(TwinError, match="unmounted"):
        take_inventory([posts, tmp_path / "unmounted"])


def test_an_author_without_sources_is_an_error() -> None:
    with pytest.raises(TwinError, match="has no sources"):
        take_inventory([])
