"""Define an importer: the exports that it reads, and those of its platform that it rejects.

Scope: the two values.
Out of scope: the list of importers (`recognition`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from twin_assets.corpus.importers.archive import Archive
from twin_assets.corpus.importers.record import ExportRecord, Skipped

TO_MARKDOWN = "convert it to a folder of Markdown files (one post a file) and name that folder"


class ReadExport(Protocol):
    """A reader of an export: yields its parts one by one; an unreadable part is a `Skipped`."""

    def __call__(
        self, archive: Archive, *, include: frozenset[str]
    ) -> Iterator[ExportRecord | Skipped]: ...


@dataclass(frozen=True)
class RefusedExport:
    """An export that is rejected by name, so that it is not imported as junk.

    Attributes:
        files: alternatives; each is a tuple of patterns that must all match some file's path. The
            files must occur only in this platform's export.
        content: pattern for the beginning of its files, or "" for none.
        title: its users' name for it, or "" for a part of the importer's own format or a damaged
            export of it.
        next_step: the user's next step.
    """

    files: tuple[tuple[str, ...], ...] = ()
    content: str = ""
    title: str = ""
    next_step: str = "name the whole export, zipped as the platform gave it or unpacked"

    def matches_names(self, names: str) -> bool:
        """Return whether paths, one per line, are those of this export."""
        return any(
            all(re.search(rf"^(?:.*/)?{pattern}$", names, re.MULTILINE) for pattern in patterns)
            for patterns in self.files
        )

    def matches_head(self, head: bytes) -> bool:
        """Return whether a file with this beginning belongs to this export."""
        pattern = self.content.encode()
        return bool(pattern and re.search(pattern, head, re.IGNORECASE | re.DOTALL))


def _digest_of_bytes(archive: Archive) -> str:
    return archive.digest()


@dataclass(frozen=True)
class Importer:
    """One platform's exports: how they are recognised and read.

    Attributes:
        name: `source` of its records (`linkedin`).
        title: its users' name for the format (`LinkedIn data export`).
        recognises: cheap test of an archive's content, never of the archive's own name.
        read: reader of an archive; `include` is a subset of `record.OPT_INS`.
        refused_exports: exports rejected if no importer recognises an archive; the first match
            applies.
        allows_markdown_posts: whether a folder with Markdown posts may be its export (a
            repository).
        latest_only: whether it holds only the newest posts (a feed), so that missing ones are not
            deleted.
        digest: hash of the records' inputs, if these are not the bytes on disk (a commit).
    """

    name: str
    title: str
    recognises: Callable[[Archive], bool]
    read: ReadExport
    refused_exports: tuple[RefusedExport, ...] = ()
    allows_markdown_posts: bool = False
    latest_only: bool = False
    digest: Callable[[Archive], str] = _digest_of_bytes
