"""Settings, authors and secrets: what is read, what is refused, what stays private."""

from __future__ import annotations

import dataclasses
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from twin_resources.errors import TwinError
from twin_resources.settings import (
    Author,
    Settings,
    list_authors,
    load_secrets,
    load_settings,
    read_author,
    slug_of,
    write_author,
)


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
    assert slug_of(name) == slug == slug_of(name)


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(TwinError, match="--author"):
        slug_of("   ")


def test_author_file_round_trips(home: Settings) -> None:
    author = Author(
        slug="jose-nunez",
        name="José Núñez",
        sources=("/a path/with spaces",),
        refused_topics=("politics",),
        temperature=0.7,
        extra={"note": "kept"},
    )
    write_author(home, author)
    assert read_author(home, "jose-nunez") == author
    assert list_authors(home) == [author]


def test_defaults_are_not_written(home: Settings) -> None:
    path = write_author(home, Author(slug="a", name="A"))
    assert "max_tokens" not in path.read_text()


def test_a_missing_and_a_broken_author_say_what_to_do(home: Settings) -> None:
    with pytest.raises(TwinError, match="twin up"):
        read_author(home, "nobody")
    home.authors_dir.mkdir(parents=True)
    (home.authors_dir / "bad.toml").write_text("name = [")
    with pytest.raises(TwinError, match="mend the TOML"):
        read_author(home, "bad")


def test_secrets_are_private_and_survive_a_race(home: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: load_secrets(home), range(16)))
    assert len({dataclasses.astuple(secrets) for secrets in made}) == 1
    path = home.home / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made[0].gateway_key not in repr(made[0])


def test_paid_route_needs_model_and_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_PAID_MODEL", "openai/gpt-x")
    assert not load_settings().has_paid_route
    monkeypatch.setenv("TWIN_PAID_BUDGET_PER_DAY", "2.5")
    assert load_settings().has_paid_route
