"""What an importer is: the exports that it reads, and those of its platform that it refuses.

Scope: the two values. Out of scope: which importers there are (`recognition`).
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


class Read(Protocol):
    """Everything in an export, one by one; a part that cannot be read is a `Skipped`."""

    def __call__(
        self, archive: Archive, *, include: frozenset[str]
    ) -> Iterator[ExportRecord | Skipped]: ...


@dataclass(frozen=True)
class RefusedExport:
    """An export that is refused with its name, so that it is not imported as junk.

    Attributes:
        files: alternatives; each is a tuple of patterns that must all match some file's path. A
            file that only this platform's export has.
        content: pattern of what its files begin with; "" none.
        title: as its users call it; "": the importer's own format, of which only a part is there,
            or a damaged one.
        next_step: what to do with it today.
    """

    files: tuple[tuple[str, ...], ...] = ()
    content: str = ""
    title: str = ""
    next_step: str = "name the whole export, zipped as the platform gave it or unpacked"

    def in_names(self, names: str) -> bool:
        """Whether paths, one a line, are those of this export."""
        return any(
            all(re.search(rf"^(?:.*/)?{pattern}$", names, re.MULTILINE) for pattern in patterns)
            for patterns in self.files
        )

    def in_head(self, head: bytes) -> bool:
        """Whether a file that begins so is one of this export."""
        pattern = self.content.encode()
        return bool(pattern and re.search(pattern, head, re.IGNORECASE | re.DOTALL))


def _bytes_on_disk(archive: Archive) -> str:
    return archive.digest()


@dataclass(frozen=True)
class Importer:
    """One platform's exports: what they are known by, and how they are read.

    Attributes:
        name: carried by its records as `source` (`linkedin`).
        title: as its users call the format (`LinkedIn data export`).
        recognises: by what an archive holds, never by the archive's own name; cheap.
        read: `include` is a subset of `record.OPT_INS`.
        refuses: what is refused where no importer recognises an archive; the first that matches.
        beside_markdown: a folder that also holds Markdown posts may be its export (a repository).
        latest_only: it holds the newest posts only (a feed): what is gone from it is not deleted.
        digest: what the records follow from, where it is not the bytes on disk (a commit).
    """

    name: str
    title: str
    recognises: Callable[[Archive], bool]
    read: Read
    refuses: tuple[RefusedExport, ...] = ()
    beside_markdown: bool = False
    latest_only: bool = False
    digest: Callable[[Archive], str] = _bytes_on_disk
