"""Test which importer reads an export, and which files are rejected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recipes import import_recipe
from tests.unit.corpus.export_files import write_folder, write_tar, write_zip
from tests.unit.corpus.importers.importer_outcomes import read_export
from tests.unit.corpus.importers.marked_exports import (
    EXPORTS,
    SECRET,
    Export,
    Piece,
    join_pieces,
    phrase,
)
from tests.unit.corpus.importers.test_damaged_exports import find_silent_losses
from twin_assets.corpus.importers import recognition
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.recognition import find_importer, reject_unsupported_exports
from twin_assets.corpus.sources import find_sources
from twin_resources.errors import TwinError


def recognize(path: Path) -> str:
    """Return the importer's name, and the rejection if no importer finds a post."""
    with open_archive(path) as archive:
        importer = find_importer(archive)
        name = importer.name if importer else ""
        try:
            reject_unsupported_exports(archive)
        except TwinError as error:
            return f"{name}; {error.found}"
    return name


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_recognized_in_every_container(name: str, tmp_path: Path) -> None:
    files = join_pieces(EXPORTS[name]())
    folder = write_folder(files, tmp_path / "folder")
    importer = next(importer for importer in recognition.IMPORTERS if importer.name == name)
    for path in (
        folder,
        write_zip(files, tmp_path / "renamed.bin"),
        write_zip(files, tmp_path / "nested.zip", parent_folder="ada-2024/"),
        write_tar(files, tmp_path / "export.tar.gz"),
    ):
        assert recognize(path).partition(";")[0] == name, path
        assert read_export(path, importer).records == read_export(folder, importer).records


@pytest.mark.parametrize(
    ("name", "body", "result"),
    [
        ("a", b"%PDF-1.7\nrest", "; a PDF file"),
        ("a", b"SQLite format 3\0rest", "; an SQLite database"),
        ("a", b"7z\xbc\xaf\x27\x1crest", "; a 7-Zip archive"),
        ("a", b"Rar!\x1a\x07rest", "; a RAR archive"),
        ("a", b"\0" * 10_240, "; an archive that is not a known platform's export"),
        ("a", b"# A post\n\nWith words.\n", ""),
        ("a", b'<rss version="2.0"></rss>\n', "feed; no readable post in the RSS or Atom feed"),
        ("quotes_a_feed.md", b'<rss version="2.0"></rss>\n', "feed"),
        ("a", b"", ""),
    ],
)
def test_single_files_are_accepted_or_rejected_by_their_content(
    name: str, body: bytes, result: str, tmp_path: Path
) -> None:
    assert recognize(write_folder({name: body}, tmp_path) / name) == result


def test_archives_without_an_export_are_rejected_and_pages_are_not(tmp_path: Path) -> None:
    assert recognize(write_folder({"posts/a.html": "<p>Text</p>"}, tmp_path / "pages")) == ""
    posts = {"a.md": "# A\n\nText\n", "feed.xml": "<rss version='2.0'></rss>"}
    sources = find_sources([write_folder(posts, tmp_path / "posts")], include=frozenset())
    assert sources.exports == {}
    pictures = write_zip({"a.png": b"\x89PNG"}, tmp_path / "pictures.zip")
    assert recognize(pictures) == "; an archive that is not a known platform's export"
    feed = write_folder({"README.md": "# About\n", "feed.xml": "<rss></rss>"}, tmp_path / "feed")
    assert recognize(feed) == "; no readable post in the RSS or Atom feed"


def test_a_chat_is_rejected_by_its_file_names(tmp_path: Path) -> None:
    files = {"messages.html": "<html></html>", "css/style.css": ""}
    for source in (write_zip(files, tmp_path / "a.zip"), write_folder(files, tmp_path / "a")):
        with pytest.raises(TwinError, match="Telegram chat") as excinfo:
            find_sources([source], include=frozenset())
        assert "into a table" in excinfo.value.next_step


def build_writefreely_export() -> Export:
    pieces = [Piece(b"[")]
    for number in range(6):
        mark = f"wfpost{number}x" if number else ""
        row = {
            "id": f"wf{number:06}",
            "slug": f"clocks-{number}",
            "appearance": "norm",
            "language": "en",
            "created": "2020-01-02T03:04:05Z",
            "title": f"On clocks {number}",
            "body": phrase(mark) if mark else f"{SECRET} words",
            "tags": ["clocks"],
            "collection": {"alias": "ada", "public": bool(mark)},
        }
        pieces += [Piece(b",\n")] if number else []
        pieces.append(Piece(json.dumps(row).encode(), mark, str(row["id"])))
    return {"ada-posts.json": [*pieces, Piece(b"]")]}


def test_the_documented_importer_recipe_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the code of deploy/docs/contributing.md with its line in the tuple of importers."""
    [body] = join_pieces(build_writefreely_export()).values()
    source = write_folder({"download": body}, tmp_path) / "download"
    damaged_source = write_folder({"download": body[2:]}, tmp_path / "damaged") / "download"
    assert recognize(source) == recognize(damaged_source) == ""

    importer = import_recipe("An importer", tmp_path / "writefreely.py").IMPORTER
    monkeypatch.setattr(recognition, "IMPORTERS", (*recognition.IMPORTERS, importer))
    for name, build in EXPORTS.items():
        other_source = write_zip(join_pieces(build()), tmp_path / f"{name}.zip")
        assert recognize(other_source).partition(";")[0] == name

    content = find_sources([source], include=frozenset()).exports["writefreely"]
    assert (len(content), dict(content.exclusion_counts)) == (5, {"private": 1})
    record = read_export(source, importer).records["wf000001"]
    assert (record.title, record.tags, record.visibility) == ("On clocks 1", ("clocks",), "public")
    assert recognize(damaged_source) == "; no readable post in the WriteFreely export"
    monkeypatch.setitem(EXPORTS, "writefreely", build_writefreely_export)
    assert find_silent_losses("writefreely", tmp_path / "cut") == []


@pytest.mark.parametrize("suffix", ["html", "txt", "ipynb"])
def test_a_feed_below_a_folder_of_posts_is_no_reason_to_refuse_it(
    suffix: str, tmp_path: Path
) -> None:
    words = "Some words of mine stand here, and there are enough of them to be a post."
    bodies = {
        "html": f"<h1>Hello</h1><p>{words}</p>",
        "txt": words,
        "ipynb": '{"cells": [{"cell_type": "markdown", "source": "' + words + '"}], "nbformat": 4}',
    }
    (tmp_path / "blog").mkdir()
    (tmp_path / f"hello.{suffix}").write_text(bodies[suffix], encoding="utf-8")
    (tmp_path / "blog" / "atom.xml").write_text(
        '<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom"><title>x</title></feed>'
    )
    [folder] = find_sources([tmp_path], include=frozenset()).folders
    assert [post.source_id for post in folder.posts] == [f"hello.{suffix}"]
