"""The importers there are, and which of them reads a source.

Belongs here: one line an importer. Does not belong here: how one reads.

An importer is a module with
    NAME: str — its name, which its records carry as `source` (`linkedin`)
    TITLE: str — as its users call the format (`LinkedIn data export`)
    recognises(archive) -> bool — by what it holds, never by the archive's own name; cheap
    read(archive, *, include) -> Iterator[Record | Skipped] — everything in it, one by one; a part
        that cannot be read is a `Skipped`; `include` is a subset of `record.OPT_INS`
and, where it holds,
    BESIDE_MARKDOWN = True — a folder that also holds Markdown posts may be its export (a git
        repository)
    digest(archive) -> str — its records follow from something else than the bytes on disk (the
        commit that is checked out)
    LATEST_ONLY = True — it holds the newest posts only (a feed): what is gone from it is not
        deleted
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from twin_assets.corpus.importers import (
    feed,
    ghost,
    git_prose,
    linkedin,
    mastodon,
    medium,
    substack,
    wordpress,
    x_archive,
)
from twin_assets.corpus.importers.archive import Archive
from twin_assets.corpus.importers.posts import markup_of
from twin_assets.corpus.importers.record import ExportRecord, Skipped
from twin_assets.corpus.importers.site_layout import is_about_the_folder


class Importer(Protocol):
    """What a module in `IMPORTERS` offers."""

    @property
    def NAME(self) -> str: ...

    @property
    def TITLE(self) -> str: ...

    def recognises(self, archive: Archive) -> bool: ...

    def read(
        self, archive: Archive, *, include: frozenset[str]
    ) -> Iterator[ExportRecord | Skipped]: ...


IMPORTERS: tuple[Importer, ...] = (
    git_prose,
    linkedin,
    medium,
    substack,
    x_archive,
    mastodon,
    wordpress,
    ghost,
    feed,
)
"""In the order in which they are asked: a WordPress export is also an RSS feed."""


def importer_of(archive: Archive) -> Importer | None:
    """The importer that reads this archive; None: a folder or file of plain posts, or unknown.

    A folder with Markdown posts is no export, whatever feed or archive lies among them.
    """
    markdown = has_markdown_posts(archive)
    for importer in IMPORTERS:
        if markdown and not getattr(importer, "BESIDE_MARKDOWN", False):
            continue
        if importer.recognises(archive):
            return importer
    return None


def has_markdown_posts(archive: Archive) -> bool:
    """Whether it is a folder with posts in Markdown, beyond the files about the folder itself."""
    return archive.kind == "folder" and any(
        markup_of(name) == "markdown" and not is_about_the_folder(name) for name in archive.names()
    )
