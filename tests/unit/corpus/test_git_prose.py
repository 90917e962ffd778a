"""A repository's own prose, read from real repositories that git makes here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from twin_assets.corpus import importing
from twin_assets.corpus.importers import git_prose
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.record import ExportRecord, Skipped
from twin_assets.corpus.inventory import take_inventory
from twin_resources.errors import TwinError

ANN, BOB = "Ann <ann@example.org>", "Bob <bob@example.org>"
CODE = "int main(void) { return 0; }\n"


class Repository:
    """A repository in which each file is committed by somebody at some time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.git("config", "twin.email", "ann@example.org")
        self.hours = 0

    def git(self, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull} | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def write(self, name: str, text: str | bytes, by: str = ANN) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.commit(by)

    def commit(self, by: str = ANN) -> None:
        self.hours += 1
        name, _, email = by.rstrip(">").partition(" <")
        when = f"2024-05-01T{self.hours:02}:00:00+00:00"
        self.git("add", "-A")
        self.git(
            "commit", "-q", "-m", "a change", GIT_AUTHOR_NAME=name, GIT_AUTHOR_EMAIL=email,
            GIT_AUTHOR_DATE=when, GIT_COMMITTER_NAME="C", GIT_COMMITTER_EMAIL="c@example.org",
            GIT_COMMITTER_DATE=when,
        )  # fmt: skip

    def found(self) -> tuple[dict[str, ExportRecord], dict[str, str]]:
        """Records by path, and why other paths were skipped."""
        with open_archive(self.folder) as archive:
            found = list(git_prose.read(archive, include=frozenset()))
        records = {
            one.source_id.split("/", 1)[1]: one for one in found if isinstance(one, ExportRecord)
        }
        return records, {one.location: one.reason for one in found if isinstance(one, Skipped)}

    def recognised(self) -> bool:
        with open_archive(self.folder) as archive:
            return git_prose.recognises(archive)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    made = Repository(tmp_path / "a tool")
    for name in ("main.c", "list.c", "list.h"):
        made.write(name, CODE)
    return made


def test_a_readme_is_a_record_as_it_stands(repository: Repository) -> None:
    text = "# A tool\n\nIt's small:\n\n    $ tool  --now\n\n```c\nint  a;\n\nint b;\n```\n"
    repository.write("README.md", text)
    repository.git("remote", "add", "origin", "https://ann:token@github.com/ann/tool.git")
    assert repository.recognised()
    records, skipped = repository.found()
    readme = records["README.md"]
    assert readme.text == text
    assert (readme.title, readme.kind, readme.markup) == ("A tool", "article", "markdown")
    assert readme.author == "Ann"
    assert readme.byline == "git blame: 7 of 7 lines"
    assert readme.url == "https://github.com/ann/tool/blob/HEAD/README.md"
    assert readme.created_at == readme.updated_at == datetime(2024, 5, 1, 4, tzinfo=UTC)
    assert skipped == dict.fromkeys(("list.c", "list.h", "main.c"), "not_prose")


def test_only_blocks_that_the_author_wrote_are_kept(repository: Repository) -> None:
    mine = "# Guide\n\nFirst words\nof mine.\n\n- one\n- two\n\n```\na\n```\n\nLast words.\n"
    repository.write("docs/guide.md", mine)
    theirs = mine.replace("of mine.", "of Bob.").replace("- two", "- TWO").replace("a\n", "a\nb\n")
    repository.write("docs/guide.md", theirs + "\nAll Bob's.\n", by=BOB)
    records, _ = repository.found()
    assert records["docs/guide.md"].text == "# Guide\n\n- one\n\nLast words.\n"
    assert records["docs/guide.md"].byline == "git blame: 3 of 11 lines"
    repository.write("bob.md", "Bob's own words.\n", by=BOB)
    assert repository.found()[1]["bob.md"] == "by_somebody_else"


def test_white_space_and_moves_steal_no_line(repository: Repository) -> None:
    repository.write("docs/guide.md", "Words of mine,\nand more of them.\n")
    repository.write("docs/guide.md", "  Words of mine,\n  and more of them.\n", by=BOB)
    repository.git("mv", "docs/guide.md", "docs/manual.md")
    repository.commit(by=BOB)
    records, _ = repository.found()
    assert records["docs/manual.md"].byline == "git blame: 2 of 2 lines"


def test_several_addresses_and_a_mailmap(repository: Repository) -> None:
    repository.write("README.md", "Ann at work.\n", by="Ann <Ann@Work.example>")
    assert "README.md" not in repository.found()[0]
    repository.git("config", "--add", "twin.email", "ann@work.example")
    assert repository.found()[0]["README.md"].text == "Ann at work.\n"
    repository.write("docs/old.md", "Ann at school.\n", by="A <ann@school.example>")
    assert "docs/old.md" not in repository.found()[0]
    repository.write(".mailmap", "Ann <ann@example.org> A <ann@school.example>\n")
    assert repository.found()[0]["docs/old.md"].author == "Ann"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("LICENSE", "Permission is granted.\n", "licence"),
        ("LICENSE-MIT.md", "Permission is granted.\n", "licence"),
        ("CODE_OF_CONDUCT.md", "Be kind.\n", "licence"),
        ("vendor/lib/README.md", "A library.\n", "vendored"),
        ("third_party/x/README", "A library.\n", "vendored"),
        ("docs/api.md", "<!-- Generated by tool. Do not edit. -->\n# API\n", "generated"),
        ("tests/fixtures/a.md", "A fixture.\n", "not_prose"),
        ("words.txt", "alpha\nbeta\n", "not_prose"),
        ("docs/data.md", b"\x00\x01\x02\n", "binary"),
        ("docs/latin.md", "schön\n".encode("latin-1"), "not_utf8"),
        ("docs/empty.md", "", "no_text"),
        ("docs/large.md", "word " * 500_000, "too_large"),
        (
            "docs/lfs.md",
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "lfs_pointer",
        ),
        ("docs/draft.md", "---\ndraft: true\n---\nNot yet.\n", "draft"),
    ],
)
def test_what_is_not_the_authors_prose_is_skipped_with_its_reason(
    repository: Repository, name: str, text: str | bytes, reason: str
) -> None:
    repository.write(name, text)
    records, skipped = repository.found()
    assert skipped[name] == reason
    assert name not in records


def test_attributes_links_and_modules_are_respected(repository: Repository) -> None:
    repository.write("docs/theirs.md", "Words.\n")
    repository.write("docs/made.md", "Words.\n")
    marks = "docs/theirs.md linguist-vendored\ndocs/made.md linguist-generated=true\n"
    repository.write(".gitattributes", marks)
    (repository.folder / "docs" / "link.md").symlink_to("/etc/passwd")
    repository.commit()
    _, skipped = repository.found()
    assert (skipped["docs/theirs.md"], skipped["docs/made.md"]) == ("vendored", "generated")
    assert skipped["docs/link.md"] == "link"


def test_front_matter_and_other_markups(repository: Repository) -> None:
    repository.write("docs/a.md", "---\ntitle: The A\nnav: 1\n---\n\nWords about it.\n")
    repository.write("README.rst", "A tool\n======\n\n::\n\n    code  here\n")
    repository.write("README", "Plain words.\n")
    repository.write("docs/broken.md", "---\ntitle: [a\n---\nWords.\n")
    repository.write("docs/open.md", "---\ntitle: Never closed\n\ndraft: true\n\nWords.\n")
    repository.write("docs/below.md", "# Below\n\nDate: 2020-01-02\nStatus: done\n\nWords.\n")
    repository.write("docs/chat.txt", "[1/2/20, 10:11] Ana: hi\n[1/2/20, 10:12] Bob: you?\n")
    records, skipped = repository.found()
    assert (skipped["docs/open.md"], skipped["docs/chat.txt"]) == ("broken_front_matter", "chat")
    assert records["docs/below.md"].text.startswith("# Below\n\nDate: 2020-01-02\n")
    assert (records["docs/a.md"].title, records["docs/a.md"].text) == ("The A", "Words about it.\n")
    assert records["README.rst"].markup == "text"
    assert records["README.rst"].text.endswith("    code  here\n")
    assert records["README"].title == "README"
    assert records["docs/broken.md"].text.endswith("Words.\n")


def test_identifiers_are_the_same_in_every_clone(repository: Repository, tmp_path: Path) -> None:
    repository.write("README.md", "Words.\n")
    for kind in ((), ("--bare",)):
        place = tmp_path / f"clone{len(kind)}"
        subprocess.run(
            ["git", "clone", "-q", *kind, str(repository.folder), str(place)], check=True
        )
        subprocess.run(
            ["git", "-C", str(place), "config", "user.email", "ann@example.org"], check=True
        )
        with open_archive(place) as archive:
            assert git_prose.recognises(archive)
            found = git_prose.read(archive, include=frozenset())
            [record] = [one for one in found if isinstance(one, ExportRecord)]
        assert record.source_id == repository.found()[0]["README.md"].source_id
        assert record.url == ""


def test_edits_and_deletions_are_seen(repository: Repository) -> None:
    repository.write("README.md", "Words.\n")
    record = repository.found()[0]["README.md"]
    (repository.folder / "README.md").write_text("Not committed.\n")
    assert repository.found()[0]["README.md"] == record
    repository.commit()
    assert repository.found()[0]["README.md"].digest() != record.digest()
    repository.git("rm", "-q", "README.md")
    repository.commit()
    assert repository.found()[0] == {}


@pytest.mark.parametrize(
    "files",
    [
        {"_posts/2020-01-01-a.md": "Words.\n", "README.md": "A blog.\n"},
        {"hugo.toml": 'title = "a"\n', "content/a.md": "Words.\n", "README.md": "A blog.\n"},
        {f"notes/{n}.md": "Words.\n" for n in range(9)},
        {"posts/2020-01-01-a.md": "Words.\n", "posts/2020/02-03-b.md": "Words.\n"},
        {f"src/{n}.md": "---\npubDate: 2020-01-02\n---\nWords.\n" for n in "ab"},
        {f"docs/{n}.md": "+++\ndate = 2020-01-02\n+++\nWords.\n" for n in "ab"},
        {f"content/{n}.rst": "A\n#\n\n:date: 2020-01-02\n\nWords.\n" for n in "ab"},
        {f"content/{n}.md": "Title: A\nDate: 2020-01-02\n\nWords.\n" for n in "ab"},
        {"eleventy.config.js": CODE, "src/a.md": "Words.\n"},
        {".obsidian/app.json": "{}", "a.md": "Words.\n"},
        {"more.c": CODE},
    ],
)
def test_a_folder_of_posts_in_git_stays_one(repository: Repository, files: dict[str, str]) -> None:
    for name, text in files.items():
        repository.write(name, text)
    assert not repository.recognised()


@pytest.mark.parametrize(
    "files",
    [
        {f"docs/{n}.md": "---\ntitle: A\n---\nWords.\n" for n in "abc"},
        {f"manual/{n}.md": "---\nsidebar_label: A\n---\nWords.\n" for n in "abc"},
        {"docs/a.md": "Words.\n", "docs/b.md": "Words.\n", "docs/2020-01-01-c.md": "Words.\n"},
        {"docs/a.md": "---\n\nA break first\n\n---\n", "docs/b.md": "Words.\n"},
    ],
)
def test_a_program_with_documents_stays_one(repository: Repository, files: dict[str, str]) -> None:
    for number in range(5):
        repository.write(f"src/{number}.c", CODE)
    for name, text in files.items():
        repository.write(name, text)
    assert repository.recognised()


def test_a_folder_without_git_or_commits_is_none(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "README.md").write_text("Words.\n")
    with open_archive(tmp_path / "plain") as archive:
        assert not git_prose.recognises(archive)
    assert not Repository(tmp_path / "new").recognised()


def test_nobody_is_not_everybody(repository: Repository) -> None:
    repository.write("README.md", "Words.\n")
    repository.git("config", "--unset", "twin.email")
    with pytest.raises(TwinError, match=r"git config --add twin\.email"):
        repository.found()
    repository.git("config", "user.email", "ANN@example.org")
    assert repository.found()[0]["README.md"].text == "Words.\n"


def test_a_shallow_clone_is_refused(repository: Repository, tmp_path: Path) -> None:
    repository.write("README.md", "Words.\n", by=BOB)
    repository.write("docs/a.md", "Words.\n")
    clone = Repository.__new__(Repository)
    clone.folder = tmp_path / "shallow"
    address = f"file://{repository.folder}"
    subprocess.run(["git", "clone", "-q", "--depth=1", address, str(clone.folder)], check=True)
    clone.git("config", "twin.email", "ann@example.org")
    with pytest.raises(TwinError, match="git fetch --unshallow"):
        clone.found()


def test_a_repositorys_own_configuration_starts_no_program(repository: Repository) -> None:
    """Hooks, monitors and text conversions are commands that a repository brings along."""
    mark = repository.folder.parent / "started"
    script = repository.folder.parent / "program.sh"
    script.write_text(f"#!/bin/sh\ntouch '{mark}'\ncat \"$1\"\n")
    script.chmod(0o755)
    repository.write("README.md", "Words.\n")
    repository.write(".gitattributes", "*.md diff=own filter=own\n")
    mark.unlink(missing_ok=True)
    for name in ("diff.own.textconv", "filter.own.smudge", "core.fsmonitor", "core.pager"):
        repository.git("config", name, str(script))
    assert repository.recognised()
    assert repository.found()[0]["README.md"].text == "Words.\n"
    assert not mark.exists()


def test_more_prose_than_the_bound_is_counted(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        repository.write(f"docs/{name}.md", "Words.\n")
    monkeypatch.setattr(git_prose, "_MAX_BLAMED_FILES", 2)
    records, skipped = repository.found()
    assert sorted(records) == ["docs/a.md", "docs/b.md"]
    assert skipped["docs/c.md"] == "beyond_the_bound"


def test_an_author_may_name_a_repository_as_a_source(repository: Repository) -> None:
    repository.write("README.md", "# A tool\n\nWords of mine.\n")
    inventory = take_inventory([repository.folder])
    assert inventory.layouts == ["git"]
    rows = importing.read_rows(importing.build_inventory_frame(inventory), inventory)
    assert rows.select("source", "title", "kind").rows() == [("git", "A tool", "article")]
    # Only what is committed counts.
    before = importing.build_inventory_frame(inventory)
    (repository.folder / "README.md").write_text("# A tool\n\nOther words.\n")
    assert importing.build_inventory_frame(take_inventory([repository.folder])).equals(before)
    repository.commit()
    assert not importing.build_inventory_frame(take_inventory([repository.folder])).equals(before)


def test_every_file_is_a_record_or_skipped(repository: Repository) -> None:
    names: list[str] = []
    write: Callable[..., None] = repository.write
    for name in ("README.md", "docs/ä b.md", 'docs/"quoted".md', "src/x.py", "LICENSE"):
        write(name, "Words of mine.\n")
        names.append(name)
    records, skipped = repository.found()
    assert records.keys() | skipped.keys() == {*names, "main.c", "list.c", "list.h"}
    assert not records.keys() & skipped.keys()
    assert "docs/ä b.md" in records
