"""Listing a folder: every change of its files is seen, and nothing is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.storage.sources.listing import (
    SourceNotFoundError,
    fingerprint,
    is_feed,
    list_source,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "my posts"
    (root / "deep").mkdir(parents=True)
    for name in ("a.md", "deep/b.md", "picture.png", ".hidden.md"):
        (root / name).write_text("text")
    return root


def mark(folder: Path) -> str:
    return fingerprint([list_source(str(folder))])


def names(folder: Path) -> list[str]:
    return [entry.name.rsplit("/", 1)[-1] for entry in list_source(str(folder)).entries]


def test_names_are_those_of_files_that_may_be_posts(folder: Path) -> None:
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "README.md").write_text("text")
    (folder / "linked").symlink_to(folder / "deep")
    assert names(folder) == ["a.md", "b.md", "linked"]
    assert names(folder / "a.md") == ["a.md"]


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "c.md").write_text("text"),
        lambda root: (root / "a.md").write_text("more text"),
        lambda root: (root / "a.md").unlink(),
        lambda root: (root / "a.md").rename(root / "c.md"),
        lambda root: os.utime(root / "deep" / "b.md", (1, 1)),
    ],
)
def test_each_change_changes_the_fingerprint(folder: Path, change: Callable[[Path], None]) -> None:
    before = mark(folder)
    assert mark(folder) == before
    change(folder)
    assert mark(folder) != before


def test_media_and_hidden_files_do_not(folder: Path) -> None:
    before = mark(folder)
    (folder / "picture.png").write_bytes(b"other")
    (folder / ".hidden.md").write_text("other")
    (folder / "new.JPG").write_bytes(b"")
    assert mark(folder) == before


def test_a_commit_is_a_change(folder: Path) -> None:
    (folder / ".git" / "logs").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    before = mark(folder)
    (folder / ".git" / "logs" / "HEAD").write_text("one commit\n")
    assert mark(folder) != before


def test_an_absent_or_empty_folder_is_no_list_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        list_source(str(tmp_path / "unmounted"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceNotFoundError, match="mount it"):
        list_source(str(tmp_path / "empty"))


def test_a_folder_that_cannot_be_listed_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root lists every folder whatever its mode, so the refusal is made here.
    listed = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(TwinError, match=r"deep cannot be listed .*give read permission"):
        list_source(str(folder))


def test_a_name_that_is_not_utf8_is_listed_as_it_is_stored(folder: Path) -> None:
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.md"), "wb") as stream:  # noqa: PTH118, PTH123 - bytes
        stream.write(b"text")
    assert "caf\\xe9.md" in names(folder)
    assert mark(folder)


def test_feeds_are_told_by_their_address() -> None:
    assert is_feed("https://a.example/feed.xml")
    assert not is_feed("/home/a/https.md")
    assert not is_feed("s3://bucket/posts")
