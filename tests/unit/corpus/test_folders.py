"""Test how a folder's files are listed, and which repositories are refused as programs."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from tests.unit.corpus.export_files import Files, write_folder
from twin_assets.corpus.importers.folders import scan_source
from twin_assets.corpus.importers.posts import read_post
from twin_assets.corpus.inventory import take_inventory
from twin_resources.errors import TwinError

CODE = "int main(void) { return 0; }\n"
PROGRAM: Files = {".git/HEAD": "", **{f"src/{number}.c": CODE for number in range(5)}}


def list_ids(folder: Path) -> list[str]:
    return [post.source_id for post in scan_source(folder).posts]


def test_one_file_is_a_source_too(tmp_path: Path) -> None:
    write_folder({"a post.md": "Text\n"}, tmp_path)
    folder = scan_source(tmp_path / "a post.md")
    assert (folder.layout, [post.source_id for post in folder.posts]) == ("file", ["a post.md"])


@pytest.mark.parametrize("name", ["missing", "picture.png"])
def test_other_paths_are_rejected(tmp_path: Path, name: str) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(TwinError, match="folder"):
        scan_source(tmp_path / name)


def test_names_are_the_same_on_every_machine(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "José 李.md")
    write_folder({f"with spaces/{decomposed}": "Text\n"}, tmp_path)
    assert list_ids(tmp_path) == ["with spaces/José 李.md"]
    write_folder({"with spaces/José 李.md": "Text\n"}, tmp_path)
    folder = scan_source(tmp_path)
    assert len(folder.posts) == 1
    assert folder.skipped_counts == {"same name in another Unicode form": 1}


def test_a_name_that_is_not_utf8_can_be_imported_and_stored(tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.md"), "wb") as stream:  # noqa: PTH118, PTH123 - bytes
        stream.write(b"text")
    [post] = scan_source(tmp_path).posts
    assert post.source_id == "caf\\xe9.md"
    assert Path(post.location).read_bytes() == b"text"


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("private")
    posts = write_folder({"a.md": "Text\n", "more/b.md": "Text\n"}, tmp_path / "posts")
    (posts / "out.md").symlink_to(secret)
    (posts / "dangling.md").symlink_to(tmp_path / "nowhere.md")
    (posts / "loop.md").symlink_to(posts / "loop.md")
    (posts / "again").symlink_to(posts / "more")
    (posts / "same.md").symlink_to(posts / "a.md")
    folder = scan_source(posts)
    assert [post.source_id for post in folder.posts] == ["a.md", "more/b.md", "same.md"]
    assert folder.skipped_counts == {"link outside the folder": 3, "linked folder": 1}


@pytest.mark.parametrize(
    ("globs", "left_out"),
    [
        (["old"], {"docs/old/b.md", "docs/old/deep/c.md", "old/a.md"}),
        (["docs/old/"], {"docs/old/b.md", "docs/old/deep/c.md"}),
        (["docs/**/c.md", "*.html"], {"docs/old/deep/c.md", "x.html"}),
        (["ol", "b"], set()),
    ],
)
def test_a_folder_or_file_can_be_left_out(
    tmp_path: Path, globs: list[str], left_out: set[str]
) -> None:
    names = ["docs/old/b.md", "docs/old/deep/c.md", "d.md", "old/a.md", "x.html"]
    write_folder(dict.fromkeys(names, "Some words.\n"), tmp_path)
    inventory = take_inventory([tmp_path], exclude=globs)
    assert set(names) - set(inventory.posts) == left_out
    assert inventory.skipped_counts.get("left out by --exclude", 0) == len(left_out)


def test_a_table_of_posts_can_be_left_out(tmp_path: Path) -> None:
    files = {"notes.csv": "title,date,text\nA,2020-01-02,Some words.\n", "b.txt": "Other words.\n"}
    write_folder(files, tmp_path)
    assert list(take_inventory([tmp_path]).exports) == ["table"]
    assert not take_inventory([tmp_path], exclude=["*.csv"]).exports


def test_a_file_that_is_left_out_still_hides_posts(tmp_path: Path) -> None:
    files = {"posts/posts.11tydata.json": '{"draft": true}', "posts/a.md": "Some words.\n"}
    scan = scan_source(write_folder(files, tmp_path), ["*.json"])
    post = read_post(scan.posts[0].read()[0], source_id="posts/a.md", site=scan.site)
    assert post.kind == "draft"


def test_hashes_depend_on_the_bytes_not_the_modification_time(tmp_path: Path) -> None:
    path = write_folder({"a.md": "one"}, tmp_path) / "a.md"
    first_hash, times = scan_source(tmp_path).posts[0].file_hash, path.stat()
    path.write_text("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert scan_source(tmp_path).posts[0].file_hash != first_hash


def test_the_shared_folders_have_all_their_posts(shared_posts: Path) -> None:
    counts = {
        name: (scan.layout, len(scan.posts), sum(scan.skipped_counts.values()))
        for name in ("skeeto", "jbranchaud-til", "drew-devault")
        for scan in [scan_source(shared_posts / name)]
    }
    assert counts == {
        "skeeto": ("jekyll", 461, 3),
        "jbranchaud-til": ("notes", 1871, 4),
        "drew-devault": ("notes", 215, 0),
    }


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
    (tmp_path / "docs" / "a.md").unlink()
    with pytest.raises(TwinError, match="no post in a supported format"):
        take_inventory([tmp_path])
