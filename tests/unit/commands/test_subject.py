"""Test which author a command applies to, and what it writes to the author's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from twin_cli.commands.subject import (
    add_opt_ins,
    choose_author,
    choose_subject,
    find_sample_folder,
    save_subject,
)

from twin_resources.authors import Author, read_author, write_author
from twin_resources.authors.consent import find_consent_date
from twin_resources.errors import TwinError
from twin_resources.processes.stack import StackRecord, _write_record
from twin_resources.settings import Settings


def write_posts(tmp_path: Path, name: str = "my posts") -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "a.md").write_text("# A\n\ntext\n")
    return folder


@pytest.mark.parametrize(
    ("name", "slug"), [("José Núñez", "jose-nunez"), ("李", "author-674e"), ("O'Neil", "o-neil")]
)
def test_an_author_is_created_from_a_folder_and_a_name(
    home: Settings, tmp_path: Path, name: str, slug: str
) -> None:
    subject = choose_subject(home, write_posts(tmp_path), name=name)
    assert subject.is_new
    save_subject(home, subject)
    author = read_author(home, slug)
    assert author.name == name
    assert author.sources == (str(tmp_path / "my posts"),)
    repeated = choose_subject(home, tmp_path / "my posts")
    assert (repeated.slug, repeated.is_new) == (slug, False)


def test_a_folder_that_was_left_out_stays_out(home: Settings, tmp_path: Path) -> None:
    subject = choose_subject(home, write_posts(tmp_path), name="X")
    save_subject(home, add_opt_ins(subject, (), ["old", "*.html"]))
    later = add_opt_ins(choose_subject(home, tmp_path / "my posts"), (), ["docs"])
    assert later.author.exclude == ("*.html", "docs", "old")


def test_a_missing_folder_is_refused_with_the_nearest_existing_one(
    home: Settings, tmp_path: Path
) -> None:
    with pytest.raises(TwinError) as excinfo:
        choose_subject(home, tmp_path / "blog" / "posts", name="X")
    assert str(tmp_path) in excinfo.value.found


def test_posts_without_an_author_are_refused(home: Settings, tmp_path: Path) -> None:
    with pytest.raises(TwinError, match="--author"):
        choose_subject(home, write_posts(tmp_path))


def test_a_second_folder_is_added_to_the_first(home: Settings, tmp_path: Path) -> None:
    first, second = write_posts(tmp_path, "one"), write_posts(tmp_path, "two")
    save_subject(home, choose_subject(home, first, name="Ada"))
    save_subject(home, choose_subject(home, second, name="Ada"))
    assert read_author(home, "ada").sources == (str(first), str(second))


def test_without_a_folder_the_sample_or_last_author_is_used(home: Settings, tmp_path: Path) -> None:
    sample = choose_subject(home, None)
    assert sample.location == find_sample_folder()
    assert sample.slug == find_sample_folder().name
    assert find_consent_date(sample.author)
    save_subject(home, choose_subject(home, write_posts(tmp_path), name="Ada"))
    assert choose_subject(home, None).slug == "ada"


def test_a_folder_may_name_its_author(home: Settings, tmp_path: Path) -> None:
    folder = write_posts(tmp_path)
    (folder / "author.toml").write_text('name = "Ada L"\ninclude = ["drafts"]\naliases = ["al"]')
    subject = choose_subject(home, folder)
    assert (subject.slug, subject.author.include) == ("ada-l", ("drafts",))
    assert subject.author.aliases == ("al",)
    (folder / "author.toml").write_text("name = ")
    with pytest.raises(TwinError, match=r"author\.toml"):
        choose_subject(home, folder)


def test_opt_ins_are_added_to_earlier_ones(home: Settings, tmp_path: Path) -> None:
    subject = add_opt_ins(choose_subject(home, write_posts(tmp_path), name="Ann"), ["drafts"])
    save_subject(home, subject)
    repeated = add_opt_ins(choose_subject(home, None, name="ann"), ["replies", "drafts"])
    assert repeated.author.include == ("drafts", "replies")
    assert add_opt_ins(repeated, ()) == repeated
    with pytest.raises(TwinError, match="drafts, followers, paid, private, replies"):
        add_opt_ins(repeated, ["everything"])


def test_commands_without_a_name_use_the_last_author(home: Settings) -> None:
    with pytest.raises(TwinError, match="twin up"):
        choose_author(home)
    for name in ("ada", "bob"):
        write_author(home, Author(slug=name, name=name.title()))
    with pytest.raises(TwinError, match="ada, bob"):
        choose_author(home)
    assert choose_author(home, "Bob").slug == "bob"
    with pytest.raises(TwinError, match="ada, bob"):
        choose_author(home, "Eve")
    record = StackRecord(
        instance="i", supervisor=None, ports={}, base_model="b", embedder="e", author="ada"
    )
    _write_record(home, record)
    assert choose_author(home).slug == "ada"
    _write_record(home, replace(record, author="gone"))
    with pytest.raises(TwinError):
        choose_author(home)
