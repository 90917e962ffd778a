"""Erase from the store `skills`: the folders that `twin export --skill` has written.

A post's erasure makes the author's folders anew from the tables, so it follows the tables' own. An
author's erasure removes the folders. Copies elsewhere are named by `manual_steps.py`.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twin_resources.authors import list_readable_authors
from twin_resources.authors.agent_skill import (
    Post,
    list_skill_files,
    read_skill_author,
    remove_skill,
    write_skill,
)
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.decoding import find_in_file
from twin_resources.erasure.erasure_target import ErasureTarget
from twin_resources.erasure.post_names import DOCUMENTS, POSTS

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables


@dataclass(frozen=True)
class SkillFolders:
    """The skill folders of an installation that still exist."""

    installation: Installation
    name: str = "skills"

    def erase(self, target: ErasureTarget) -> int:
        """See `DataStore.erase`."""
        settings = self.installation.settings
        authors = {author.slug: author for author in list_readable_authors(settings)[0]}
        erased_count = 0
        for folder in _list_folders(target):
            if not _find_in(folder, target):
                continue
            erased_count += 1
            author = authors.get(target.author)
            posts = read_public_posts(self.installation.tables, target.author)
            if author is None or target.is_whole_author or not posts:
                remove_skill(folder)
            else:
                write_skill(posts, author, folder)
        return erased_count

    def find_remaining(self, target: ErasureTarget) -> list[str]:
        """See `DataStore.find_remaining`."""
        return [
            location for folder in _list_folders(target) for location in _find_in(folder, target)
        ]


def _list_folders(target: ErasureTarget) -> list[Path]:
    """Return the remembered folders that are still skills of the target's author."""
    folders = map(Path, sorted(target.skills))
    return [folder for folder in folders if read_skill_author(folder) == target.author]


def _find_in(folder: Path, target: ErasureTarget) -> list[str]:
    return [
        f"{path.relative_to(folder)}: {location}"
        for path in list_skill_files(folder)
        for location in find_in_file(path, target)
    ]


def read_public_posts(tables: Tables, author: str) -> Sequence[Post]:
    """Return the kept public posts for `write_skill`, newest first and undated last."""
    import polars as pl

    if not (tables.exists(DOCUMENTS, author) and tables.exists(POSTS, author)):
        return []
    columns = ["document_id", "source_id", "title", "url", "published_at", "text"]
    documents = tables.read(DOCUMENTS, author, columns=columns, where="kept")
    public = tables.read(POSTS, author, columns=["source_id"], where="visibility = 'public'")
    rows = documents.join(public, on="source_id").sort(
        "published_at", "document_id", descending=[True, False], nulls_last=True
    )
    day = pl.col("published_at").dt.strftime("%Y-%m-%d").fill_null("").alias("day")
    return rows.with_columns(day).to_dicts()
