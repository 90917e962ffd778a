"""Test the dates that notes get from their git history, with real repositories."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.unit.corpus.git_repository import GitRepository
from twin_assets.corpus.importers.git_history import find_repository, read_additions
from twin_assets.corpus.inventory import take_inventory
from twin_assets.corpus.raw_posts_import import build_inventory_frame, read_rows

WORDS = "These are words of a walk along the river, and of what stood on its other bank.\n"


@pytest.fixture
def notes(tmp_path: Path) -> GitRepository:
    repository = GitRepository.create(tmp_path / "notes")
    add_notes(repository, "2019-01-01", "README.md", ".obsidian/app.json")
    return repository


def add_notes(repository: GitRepository, day: str, *names: str, text: str = WORDS) -> None:
    files = {name: f"{text}\n{name}\n" for name in names}
    repository.write(files, time=f"{day}T12:00:00+00:00")


def import_days(folder: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return each post's day by `source_id`, and the remarks."""
    inventory = take_inventory([folder])
    rows = read_rows(build_inventory_frame(inventory), inventory)
    days = rows.select("source_id", pl.col("created_at").dt.strftime("%F").fill_null(""))
    remarked = rows.filter(pl.col("remark") != "").group_by("remark").agg("source_id")
    return dict(days.rows()), dict(remarked.rows())


def test_a_note_without_another_date_gets_its_git_date(notes: GitRepository) -> None:
    add_notes(notes, "2020-02-03", "walks/a river.md")
    add_notes(notes, "2021-04-05", "walks/b.md", text="---\ndate: 2001-01-01\n---\n" + WORDS)
    add_notes(notes, "2022-06-07", "walks/a river.md", text="Another text.\n" + WORDS)
    days, remarks = import_days(notes.folder)
    assert days == {"walks/a river.md": "2020-02-03", "walks/b.md": "2001-01-01"}
    assert remarks == {"dated_by_git": ["walks/a river.md"]}
    days, _ = import_days(notes.folder / "walks")
    assert days == {"a river.md": "2020-02-03", "b.md": "2001-01-01"}


def test_a_renamed_note_keeps_its_date(notes: GitRepository) -> None:
    add_notes(notes, "2020-02-03", "ä walk.md")
    (notes.folder / "walks").mkdir()
    notes.git("mv", "ä walk.md", "walks/ö walk.md")
    notes.commit(time="2021-04-05T12:00:00+00:00")
    assert import_days(notes.folder)[0] == {"walks/ö walk.md": "2020-02-03"}


def test_a_large_commit_does_not_date_its_files(notes: GitRepository) -> None:
    old_notes = [f"old/{n}.md" for n in range(21)]
    add_notes(notes, "2020-02-03", *old_notes)
    add_notes(notes, "2020-02-04", "new.md")
    days, remarks = import_days(notes.folder)
    assert days == {**dict.fromkeys(old_notes, ""), "new.md": "2020-02-04"}
    assert sorted(remarks["came_in_one_piece"]) == sorted(old_notes)


def test_the_first_commit_dates_at_most_three_files(tmp_path: Path) -> None:
    repository = GitRepository.create(tmp_path / "vault")
    add_notes(repository, "2020-02-03", "a.md", "b.md", "c.md", "d.md")
    assert set(import_days(repository.folder)[0].values()) == {""}


def test_a_shallow_clone_and_a_plain_folder_have_no_dates(
    notes: GitRepository, tmp_path: Path
) -> None:
    add_notes(notes, "2020-02-03", "a.md")
    shallow_clone = notes.clone(tmp_path / "shallow", "--depth", "1").folder
    assert read_additions(shallow_clone) == {}
    assert import_days(shallow_clone)[0] == {"a.md": ""}
    plain_folder = tmp_path / "plain"
    plain_folder.mkdir()
    (plain_folder / "a.md").write_text(WORDS)
    assert find_repository(plain_folder) is None
    assert import_days(plain_folder)[0] == {"a.md": ""}


def test_a_clone_without_old_contents_has_dates(notes: GitRepository, tmp_path: Path) -> None:
    add_notes(notes, "2020-02-03", "a.md")
    add_notes(notes, "2021-02-03", "b.md", text="Words of another day, on another bank.\n")
    notes.git("config", "uploadpack.allowFilter", "true")
    partial_clone = notes.clone(tmp_path / "partial", "--filter=blob:none").folder
    assert import_days(partial_clone)[0] == {"a.md": "2020-02-03", "b.md": "2021-02-03"}


def test_posts_of_a_damaged_repository_have_no_dates_and_a_remark(notes: GitRepository) -> None:
    add_notes(notes, "2020-02-03", "a.md")
    (notes.folder / ".git" / "HEAD").write_text("ref: refs/heads/nowhere\n")
    days, remarks = import_days(notes.folder)
    assert days == {"a.md": ""}
    [remark] = remarks
    assert remark.startswith("no_date_from_git: ")
