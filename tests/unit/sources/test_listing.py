"""Test listing a folder: every change to its files is detected, and no file is read."""

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


def compute_fingerprint(folder: Path) -> str:
    return fingerprint([list_source(str(folder))])


def list_names(folder: Path) -> list[str]:
    return [entry.name.rsplit("/", 1)[-1] for entry in list_source(str(folder)).entries]


def test_only_files_that_may_be_posts_are_listed(folder: Path) -> None:
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "README.md").write_text("text")
    (folder / "linked").symlink_to(folder / "deep")
    assert list_names(folder) == ["a.md", "b.md", "linked"]
    assert list_names(folder / "a.md") == ["a.md"]


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
    before = compute_fingerprint(folder)
    assert compute_fingerprint(folder) == before
    change(folder)
    assert compute_fingerprint(folder) != before


def test_media_and_hidden_files_do_not_change_the_fingerprint(folder: Path) -> None:
    before = compute_fingerprint(folder)
    (folder / "picture.png").write_bytes(b"other")
    (folder / ".hidden.md").write_text("other")
    (folder / "new.JPG").write_bytes(b"")
    assert compute_fingerprint(folder) == before


def test_a_commit_changes_the_fingerprint(folder: Path) -> None:
    (folder / ".git" / "logs").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    before = compute_fingerprint(folder)
    (folder / ".git" / "logs" / "HEAD").write_text("one commit\n")
    assert compute_fingerprint(folder) != before


def test_a_missing_or_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        list_source(str(tmp_path / "unmounted"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceNotFoundError, match="mount it"):
        list_source(str(tmp_path / "empty"))


def test_a_folder_that_cannot_be_listed_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root can list every folder, so the test simulates the refusal.
    real_scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(TwinError, match=r"deep cannot be listed .*give this user read permission"):
        list_source(str(folder))


def test_a_name_that_is_not_utf8_is_listed_with_escapes(folder: Path) -> None:
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.md"), "wb") as stream:  # noqa: PTH118, PTH123 - bytes
        stream.write(b"text")
    assert "caf\\xe9.md" in list_names(folder)
    assert compute_fingerprint(folder)


def test_feeds_are_recognized_by_their_address() -> None:
    assert is_feed("https://a.example/feed.xml")
    assert not is_feed("/home/a/https.md")
    assert not is_feed("s3://bucket/posts")
