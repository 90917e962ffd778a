"""What a shell may offer behind Tab: authors, versions and programs of the home that is meant.

Belongs here: names that lie in files and are read within milliseconds. Does not belong here: a
client, the settings (pydantic: a fifth of a second at every Tab), an error: whoever presses Tab has
asked for no explanation, so a home without files offers nothing.
Source: https://typer.tiangolo.com/tutorial/options-autocompletion
"""
# pyright: strict

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import typer

# Written here again, since the modules that know them import what takes long; a test compares.
INCLUDED = ("drafts", "followers", "paid", "private", "replies")
FORMATS = ("adapter", "merged", "gguf-adapter", "gguf")
PAGES = ("chat", "traces", "dagster")
ALIASES = ("@stable", "@canary", "@base", "@voice")


def authors(context: typer.Context, incomplete: str) -> list[str]:
    """Slugs of the home's authors."""
    return _starting(_slugs(home_of(context)), incomplete)


def models(context: typer.Context, incomplete: str) -> list[str]:
    """What `--model` takes: `@base` and its like, and `twin/<author>` with and without them."""
    named = [f"twin/{slug}{alias}" for slug in _slugs(home_of(context)) for alias in ("", *ALIASES)]
    return _starting([*ALIASES, *named], incomplete)


def versions(context: typer.Context, incomplete: str) -> list[str]:
    """The author's versions, newest first; of a registry in PostgreSQL none, which is not asked."""
    home = home_of(context)
    author = str(context.params.get("author") or "") or _last_author(home)
    return _starting([f"v{number}" for number in _numbers(home, author)], incomplete)


def programs(context: typer.Context, incomplete: str) -> list[str]:
    """Programs that have a log."""
    logs = home_of(context) / "logs"
    return _starting(sorted(path.stem for path in logs.glob("*.log")), incomplete)


def pages(incomplete: str) -> list[str]:
    """What `twin open` opens."""
    return _starting(PAGES, incomplete)


def formats(incomplete: str) -> list[str]:
    """What `twin export` writes."""
    return _starting(FORMATS, incomplete)


def included(incomplete: str) -> list[str]:
    """What an import can be asked to take as well."""
    return _starting(INCLUDED, incomplete)


def home_of(context: typer.Context) -> Path:
    """The folder of all state, as `Settings.home` finds it."""
    named = context.params.get("home")
    return Path(named or os.environ.get("TWIN_HOME") or ".twin").expanduser()


def _slugs(home: Path) -> list[str]:
    return sorted(path.stem for path in (home / "authors").glob("*.toml"))


def _last_author(home: Path) -> str:
    """Whom a command means that names nobody (`commands/subject.py`); empty: it cannot be told."""
    try:
        last = json.loads((home / "supervisor" / "stack.json").read_text("utf-8")).get("author", "")
    except (OSError, ValueError):
        last = ""
    known = _slugs(home)
    return str(last) or (known[0] if len(known) == 1 else "")


def _numbers(home: Path, author: str) -> list[int]:
    database = home / "state.sqlite"
    if os.environ.get("TWIN_STATE_URL") or not database.is_file():
        return []
    try:
        connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=1)
    except sqlite3.Error:
        return []
    try:
        query = "SELECT version FROM model_versions WHERE author = ? ORDER BY version DESC"
        return [int(row[0]) for row in connection.execute(query, (author,))]
    except sqlite3.Error:
        return []  # busy, or of a time before there were versions
    finally:
        connection.close()


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
