"""Preview posts as the command does, with temporary tables that are removed afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twin_assets.corpus.preview import Preview, preview
from twin_assets.corpus.preview_tables import open_preview_tables
from twin_resources.authors import Author
from twin_resources.settings import Settings
from twin_resources.slugs import make_slug


def preview_posts(home: Settings, *sources: Path | str, name: str, **fields: Any) -> Preview:
    """Return the preview of an author's sources.

    Args:
        name: the author's name, or "" if it is unknown.
        fields: further fields of the author.
    """
    slug = make_slug(name) if name else ""
    return preview_author(home, Author(slug, name, sources=tuple(map(str, sources)), **fields))


def preview_author(home: Settings, author: Author) -> Preview:
    """Return the preview of an author as the home's file describes it."""
    with open_preview_tables(home) as tables:
        return preview(author, tables, home)
