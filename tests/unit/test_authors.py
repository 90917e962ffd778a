"""Test reading and writing authors' files, and that one author's mistake affects no other."""

from __future__ import annotations

import pytest
from twin_cli.commands.doctor import open_home, run_check

from twin_resources.authors import (
    Author,
    list_author_slugs,
    list_readable_authors,
    read_author,
    write_author,
)
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.slugs import make_slug


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Chris Wellons", "chris-wellons"),
        ("José Núñez", "jose-nunez"),
        ("李", "author-674e"),
        ("  O'Brien & Sons ", "o-brien-sons"),
    ],
)
def test_slug_is_ascii_and_stable(name: str, slug: str) -> None:
    assert make_slug(name) == slug == make_slug(name)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(TwinError, match="--author"):
        make_slug("   ")


def test_author_file_round_trips(home: Settings) -> None:
    author = Author(
        slug="jose-nunez",
        name="José Núñez",
        sources=("/a path/with spaces",),
        include=("drafts",),
        temperature=0.7,
        extra={"note": "kept"},
    )
    path = write_author(home, author)
    assert "max_tokens" not in path.read_text(), "a default was written"
    assert read_author(home, "jose-nunez") == author
    assert list_readable_authors(home) == ([author], [])


def test_the_error_for_a_missing_or_broken_file_has_advice(home: Settings) -> None:
    with pytest.raises(TwinError, match="twin up"):
        read_author(home, "nobody")
    home.authors_dir.mkdir(parents=True)
    (home.authors_dir / "bad.toml").write_text("name = [")
    with pytest.raises(TwinError, match="correct the TOML"):
        read_author(home, "bad")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'sources = "/one/path"', "sources is '/one/path'"),
        (b'name = "A"\nsources = [1]', "sources.0 is 1"),
        (b"name = 3", "name is 3"),
        (b'temperature = "hot"', "temperature is 'hot'"),
        (b'auto_retrain = "yes"', "auto_retrain is 'yes'"),
        ('name = "José"'.encode("latin-1"), "correct the TOML, and save it as UTF-8"),
        (b"name = " + b"[" * 5000, "correct the TOML"),
    ],
)
def test_an_invalid_value_is_named(home: Settings, content: bytes, message: str) -> None:
    home.authors_dir.mkdir(parents=True)
    (home.authors_dir / "ann.toml").write_bytes(content)
    with pytest.raises(TwinError) as excinfo:
        read_author(home, "ann")
    assert message in str(excinfo.value)
    assert "ann.toml" in str(excinfo.value)


def test_a_misspelled_setting_is_said_and_stops_nothing(
    home: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    write_author(home, Author("bob", "Bob"))
    (home.authors_dir / "ann.toml").write_text('temprature = 0.9\nanswers = "quote"\n')
    for _ in range(3):
        authors, errors = list_readable_authors(home)
        assert ([author.slug for author in authors], errors) == (["ann", "bob"], [])
        assert authors[0].temperature == Author("x", "X").temperature
    said = [
        "ann.toml has 'temprature', which is not a setting and has no effect; the nearest is "
        "'temperature'",
        "ann.toml has 'answers', which is not a setting and has no effect; the nearest is 'answer'",
    ]
    assert caplog.messages == [f"{home.authors_dir}: {sentence}" for sentence in said]
    findings = run_check("authors", open_home(home))
    assert [(finding.verdict, finding.found) for finding in findings] == [
        ("warn", sentence) for sentence in said
    ]
    write_author(home, authors[0])
    assert read_author(home, "ann") == authors[0]


def test_an_integer_temperature_is_accepted(home: Settings) -> None:
    home.authors_dir.mkdir(parents=True)
    (home.authors_dir / "ann.toml").write_text("temperature = 1\nauto_retrain = true\n")
    assert read_author(home, "ann") == Author("ann", "ann", temperature=1.0, auto_retrain=True)


def test_one_authors_mistake_does_not_hide_the_others(home: Settings) -> None:
    write_author(home, Author("bob", "Bob"))
    (home.authors_dir / "ann.toml").write_text("name = [")
    assert list_author_slugs(home) == ["ann", "bob"]
    authors, [error] = list_readable_authors(home)
    assert [author.slug for author in authors] == ["bob"]
    assert error.startswith("ann: ")
    assert "correct the TOML" in error
