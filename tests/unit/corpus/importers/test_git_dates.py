"""Dates that git gives, of real repositories that git makes here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import polars as pl
import pytest

from twin_assets.corpus.importers.git_blame import find_repository, read_additions
from twin_assets.corpus.importing import build_inventory_frame, read_rows
from twin_assets.corpus.inventory import take_inventory

WORDS = "These are words of a walk along the river, and of what stood on its other bank.\n"


class Notes:
    """A folder of notes in git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, day: str = "2020-01-01") -> None:
        when = f"{day}T12:00:00+00:00"
        who = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org"}
        who |= {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org"}
        who |= {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
        subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull} | who,
            capture_output=True,
            check=True,
        )

    def write(self, day: str, *names: str, text: str = WORDS) -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n{name}\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "a change", day=day)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    made = Notes(tmp_path / "notes")
    made.write("2019-01-01", "README.md", ".obsidian/app.json")
    return made


def imported(folder: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Day by `source_id`, and what is unsure."""
    inventory = take_inventory([folder])
    rows = read_rows(build_inventory_frame(inventory), inventory)
    days = rows.select("source_id", pl.col("created_at").dt.strftime("%F").fill_null(""))
    return dict(days.rows()), inventory.remarks


def test_git_dates_a_note_that_nothing_else_dates(notes: Notes) -> None:
    notes.write("2020-02-03", "walks/a river.md")
    notes.write("2021-04-05", "walks/b.md", text="---\ndate: 2001-01-01\n---\n" + WORDS)
    notes.write("2022-06-07", "walks/a river.md", text="Another text of the walk.\n" + WORDS)
    days, unsure = imported(notes.folder)
    assert days == {"walks/a river.md": "2020-02-03", "walks/b.md": "2001-01-01"}
    assert unsure == {"dated_by_git": ["walks/a river.md"]}
    below, _ = imported(notes.folder / "walks")
    assert below == {"a river.md": "2020-02-03", "b.md": "2001-01-01"}


def test_a_renamed_note_keeps_its_day(notes: Notes) -> None:
    notes.write("2020-02-03", "ä walk.md")
    (notes.folder / "walks").mkdir()
    notes.git("mv", "ä walk.md", "walks/ö walk.md")
    notes.git("commit", "-q", "-m", "moved", day="2021-04-05")
    assert imported(notes.folder)[0] == {"walks/ö walk.md": "2020-02-03"}


def test_files_that_came_all_at_once_have_no_day(notes: Notes) -> None:
    many = [f"old/{n}.md" for n in range(21)]
    notes.write("2020-02-03", *many)
    notes.write("2020-02-04", "new.md")
    days, unsure = imported(notes.folder)
    assert days["new.md"] == "2020-02-04"
    assert {days[name] for name in many} == {""}
    assert sorted(unsure["came_in_one_piece"]) == sorted(many)


def test_the_first_commit_dates_little(tmp_path: Path) -> None:
    made = Notes(tmp_path / "vault")
    made.write("2020-02-03", "a.md", "b.md", "c.md", "d.md")
    assert set(imported(made.folder)[0].values()) == {""}


def test_a_shallow_clone_and_a_plain_folder_give_no_day(notes: Notes, tmp_path: Path) -> None:
    notes.write("2020-02-03", "a.md")
    shallow = tmp_path / "shallow"
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", f"file://{notes.folder}", str(shallow)], check=True
    )
    assert read_additions(shallow) == {}
    assert imported(shallow)[0] == {"a.md": ""}
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "a.md").write_text(WORDS)
    assert find_repository(plain) is None
    assert imported(plain)[0] == {"a.md": ""}


def test_a_clone_without_old_contents_knows_names(notes: Notes, tmp_path: Path) -> None:
    notes.write("2020-02-03", "a.md")
    notes.write("2021-02-03", "b.md", text="Words of another day, on another bank.\n")
    notes.git("config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    subprocess.run(
        [
            *("git", "clone", "-q", "--filter=blob:none"),
            *(f"file://{notes.folder}", str(partial)),
        ],
        check=True,
    )
    assert imported(partial)[0] == {"a.md": "2020-02-03", "b.md": "2021-02-03"}


def test_a_repository_that_git_refuses_costs_its_dates_and_says_so(notes: Notes) -> None:
    notes.write("2020-02-03", "a.md")
    (notes.folder / ".git" / "HEAD").write_text("ref: refs/heads/nowhere\n")
    days, unsure = imported(notes.folder)
    assert days == {"a.md": ""}
    [said] = unsure
    assert said.startswith("no_date_from_git: ")
