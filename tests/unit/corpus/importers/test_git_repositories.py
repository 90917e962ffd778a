"""Test which git repositories contain posts, and which are rejected as programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.corpus.export_files import Files, write_folder
from twin_assets.corpus.inventory import take_inventory
from twin_resources.errors import TwinError

CODE = "int main(void) { return 0; }\n"
PROGRAM: Files = {".git/HEAD": "", **{f"src/{number}.c": CODE for number in range(5)}}


@pytest.mark.parametrize(
    "files",
    [
        {"_posts/2020-01-01-a.md": "Words.\n", "README.md": "A blog.\n"},
        {"hugo.toml": 'title = "a"\n', "content/a.md": "Words.\n", "README.md": "A blog.\n"},
        {f"notes/{n}.md": "Words.\n" for n in range(9)},
        {"posts/2020-01-01-a.md": "Words.\n", "posts/2020/02-03-b.md": "Words.\n"},
        {f"src/{n}.md": "---\npubDate: 2020-01-02\n---\nWords.\n" for n in "ab"},
        {f"content/{n}.md": "Title: A\nDate: 2020-01-02\n\nWords.\n" for n in "ab"},
        {"eleventy.config.js": CODE, "src/a.md": "Words.\n", "src/src.11tydata.json": "{}"},
        {f"{n}.html": "<p>A page of words.</p>\n" for n in range(9)},
    ],
)
def test_a_folder_of_posts_in_git_is_imported(files: Files, tmp_path: Path) -> None:
    assert take_inventory([write_folder(PROGRAM | files, tmp_path)]).posts


@pytest.mark.parametrize(
    "files",
    [
        {"README.md": "Words.\n", "guide.md": "Words.\n"},
        {f"docs/{n}.md": "---\ntitle: A\n---\nWords.\n" for n in "abc"},
        {f"manual/{n}.md": "---\nsidebar_label: A\n---\nWords.\n" for n in "abc"},
        {"docs/a.md": "Words.\n", "docs/b.md": "Words.\n", "docs/2020-01-01-c.md": "Words.\n"},
        {"package.json": "{}", **{f"docs/{n}.md": "---\ntitle: A\n---\nWords.\n" for n in "ab"}},
        {"notes.txt": "A list of words that is not data.\n"},
    ],
)
def test_a_program_is_rejected_with_the_next_step(files: Files, tmp_path: Path) -> None:
    folder = write_folder(PROGRAM | files, tmp_path / "tool")
    with pytest.raises(TwinError, match=r"git repository of a program .*specify the folder in it"):
        take_inventory([folder])


def test_a_programs_documents_are_imported_from_their_folder(tmp_path: Path) -> None:
    write_folder(PROGRAM | {"docs/a.md": "Words of the author.\n"}, tmp_path)
    assert [*take_inventory([tmp_path / "docs"]).posts] == ["a.md"]


def test_a_program_without_texts_has_no_posts(tmp_path: Path) -> None:
    folder = write_folder(PROGRAM | {"README.md": "Words.\n"}, tmp_path)
    with pytest.raises(TwinError, match="no post in a supported format"):
        take_inventory([folder])
