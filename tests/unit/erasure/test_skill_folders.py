"""Test a skill's folder: public posts alone, facts of the voice, and what an erasure leaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.erasure_targets import author_target, post_target
from tests.stored_rows import store_rows
from twin_resources.authors import Author, write_author
from twin_resources.authors.agent_skill import remember_skill, write_skill
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.manual_steps import list_manual_steps
from twin_resources.erasure.plan import plan_erasure
from twin_resources.erasure.skill_folders import SkillFolders, read_public_posts
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

ADA = Author("ada", "Ada Wright")
WALK = (
    "I walk to the harbour. I walk because a desk is no place to think! It is worth noting nothing."
)
CLOCK = "I walk less when the clock of my uncle strikes the quarter of an hour and wakes the house."
SECRET = "Nobody but me may read how the old lighthouse keeper was paid for his long silence."


def store_posts(installation: Installation, *posts: tuple[str, str, str, str]) -> None:
    """Store posts, each with its id, title, text and visibility."""
    raw, cleaned = list[dict[str, Any]](), list[dict[str, Any]]()
    for year, (post, title, text, visibility) in enumerate(posts, start=2020):
        raw.append({"source_id": post, "visibility": visibility, "title": title, "text": text})
        cleaned.append(
            {
                "document_id": f"d-{post}",
                "source_id": post,
                "title": title,
                "url": f"https://ada.example/{post}",
                "published_at": datetime(year, 3, 1, tzinfo=UTC),
                "text": text,
                "kept": True,
            }
        )
    store_rows(installation.tables, "raw_posts", "ada", pl.DataFrame(raw), key="source_id")
    store_rows(
        installation.tables, "cleaned_documents", "ada", pl.DataFrame(cleaned), key="source_id"
    )


@pytest.fixture
def installation(home: Settings) -> Installation:
    write_author(home, ADA)
    installation = Installation.for_settings(home)
    store_posts(
        installation,
        ("walk.md", "The walk", WALK, "public"),
        ("clock.md", "The clock", CLOCK, "public"),
        ("secret.md", "The silence", SECRET, "unlisted"),
    )
    return installation


def export(installation: Installation, folder: Path) -> dict[str, str]:
    """Write the skill as the command does, and return its files."""
    write_skill(read_public_posts(installation.tables, "ada"), ADA, folder)
    remember_skill(installation.settings, "ada", folder)
    return read_files(folder)


def read_files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_skill_has_the_public_posts_word_for_word_with_dates_and_links(
    installation: Installation, tmp_path: Path
) -> None:
    files = export(installation, tmp_path / "ada")

    assert sorted(files) == [
        *("SKILL.md", "index.md", "posts/2020-03-01-the-walk.md"),
        *("posts/2021-03-01-the-clock.md", "skill.json", "voice.md"),
    ]
    head, _, body = files["posts/2020-03-01-the-walk.md"].removeprefix("---\n").partition("---\n")
    assert head == 'title: "The walk"\nday: "2020-03-01"\nurl: "https://ada.example/walk.md"\n'
    assert body.strip() == WALK
    newest, oldest = [line for line in files["index.md"].splitlines() if line.startswith("- ")]
    assert newest == (
        "- 2021-03-01 [The clock](posts/2021-03-01-the-clock.md) https://ada.example/clock.md"
    )
    assert "The walk" in oldest
    assert files["SKILL.md"].startswith("---\nname: ada-posts\ndescription: ")
    assert (
        "2 posts word for word, with dates and links, 2020-03-01 to 2021-03-01" in files["SKILL.md"]
    )
    assert "lighthouse" not in "".join(files.values())


def test_the_facts_of_the_voice_are_counted(installation: Installation, tmp_path: Path) -> None:
    voice = export(installation, tmp_path / "ada")["voice.md"]

    assert "Half of the sentences have at most 7.5 words; 50 % have fewer than 8, 0 % have" in voice
    assert "“I walk” (3)" in voice
    assert "25.6 exclamation marks per 1,000 words" in voice
    assert "“delve into”" in voice
    assert "“first and foremost”" in voice


def test_a_folder_of_somebody_else_is_not_replaced(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(TwinError, match="holds something else"):
        export(installation, tmp_path / "notes")


@pytest.mark.parametrize(
    ("erased", "left"),
    [
        (["walk.md"], ["posts/2020-03-01-the-clock.md"]),
        (["walk.md", "clock.md"], None),
        (None, None),
    ],
)
def test_an_erasure_makes_the_folder_anew_or_removes_it(
    installation: Installation, tmp_path: Path, erased: list[str] | None, left: list[str] | None
) -> None:
    """`erased` are posts, or None for the author; `left` the folder's posts, or None without it."""
    folder, store = tmp_path / "ada", SkillFolders(installation)
    export(installation, folder)
    target = (
        author_target("ada", ADA.name)
        if erased is None
        else post_target("ada", "walk.md", WALK, CLOCK if len(erased) > 1 else WALK)
    )
    target = replace(target, skills=frozenset({str(folder), str(tmp_path / "moved away")}))
    assert store.find_remaining(target)
    if erased is not None:
        kept = [
            post
            for post in (("walk.md", "The walk", WALK), ("clock.md", "The clock", CLOCK))
            if post[0] not in erased
        ]
        store_posts(installation, *((*post, "public") for post in kept), ("s", "s", "s", "paid"))

    assert store.erase(target) == 1

    assert store.find_remaining(target) == []
    assert folder.exists() is (left is not None)
    assert [name for name in read_files(folder) if name.startswith("posts/")] == (left or [])
    assert store.erase(target) == 0
    steps = list_manual_steps(installation, target, asked_at=0.0)
    named = [step.what for step in steps if step.what.startswith("copies of the skill")]
    assert named == [f"copies of the skill {tmp_path / name}" for name in ("ada", "moved away")]


def test_a_plan_names_the_folders_and_an_interrupted_erasure_finds_them_again(
    installation: Installation, tmp_path: Path
) -> None:
    folder, store = tmp_path / "ada", SkillFolders(installation)
    export(installation, folder)
    target = plan_erasure(installation, ErasureSubject("author", "ada", "ada"))
    assert target.skills == {str(folder)}
    loaded = ErasureTarget.from_json(target.subject, target.to_json(), target.fingerprints)
    assert loaded.skills == target.skills
    (folder / "SKILL.md").unlink()  # a process was killed while it wrote or removed files

    assert store.find_remaining(target)
    assert store.erase(target) == 1
    assert not folder.exists()
