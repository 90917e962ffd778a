"""An importer of a platform's exports, the files that it knows them by, and refused exports."""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.foreign_html import remove_foreign_parts, strip_tags
from twin_assets.corpus.importers.post_head import UnreadablePostError
from twin_assets.corpus.importers.record import (
    ExportItem,
    ExportRecord,
    SkippedItem,
    find_exclusion_reason,
)

CONVERT_ADVICE = (
    "turn it into a table (deploy/docs/your-blog.md, A table of posts) or a folder of Markdown "
    "files (one per post), and import that"
)

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class RejectedExport:
    """An unsupported export, rejected explicitly so that it is not imported as junk.

    Attributes:
        files: alternative tuples of patterns; each pattern in a tuple must match some file's path.
            The files must occur only in this platform's export.
        content: pattern for the beginning of its files, or "" for none.
        title: the name that users know it by, or "" for a partial or damaged export in the
            importer's own format.
        next_step: the user's next step.
        is_ignored_beside_posts: whether a folder with readable posts may contain such files.
    """

    files: tuple[tuple[str, ...], ...] = ()
    content: str = ""
    title: str = ""
    next_step: str = "import the whole export: the platform's archive, or its unpacked folder"
    is_ignored_beside_posts: bool = False

    def matches_names(self, names: str) -> bool:
        """Return whether paths, one per line, belong to this export."""
        return any(
            all(re.search(rf"^(?:.*/)?{pattern}$", names, re.MULTILINE) for pattern in patterns)
            for patterns in self.files
        )

    def matches_head(self, head: bytes) -> bool:
        """Return whether a file with this beginning belongs to this export."""
        pattern = self.content.encode()
        return bool(pattern and re.search(pattern, head, re.IGNORECASE | re.DOTALL))


@dataclass(frozen=True)
class ExportFiles:
    """The files of a platform's export, found by their names and known by their content.

    Attributes:
        names: pattern for the last components of a path; a source that is one file may have any
            name.
        head: pattern that the beginning of one such file must match.
        is_every_name_read: whether one match makes all files with such names the platform's, also
            damaged ones; otherwise only the matching ones are.
        max_heads: maximum number of files whose beginnings are read.
        sure_names: patterns that only this platform's names match all together, so that its
            damaged files are read, and reported, too.
    """

    names: str
    head: bytes
    is_every_name_read: bool = True
    max_heads: int = 200
    sure_names: tuple[str, ...] = ()

    def find(self, archive: Archive) -> list[str]:
        """Return the names of the export's files; [] if this is no such export."""
        names = list(archive.candidates(self.names))
        head = re.compile(self.head, re.IGNORECASE | re.DOTALL)
        matches = [name for name in names[: self.max_heads] if head.search(archive.head(name))]
        is_sure = bool(self.sure_names) and all(map(archive.names_matching, self.sure_names))
        return names if (matches or is_sure) and self.is_every_name_read else matches


@dataclass(frozen=True)
class Importer:
    """How one platform's exports are recognized and read.

    Attributes:
        name: `source` of its records (`linkedin`).
        title: the name that users know the format by (`LinkedIn data export`).
        find_files: the names of the files that it reads, found by content rather than by the
            archive's name; none means that the archive is another platform's.
        read_file: function that takes an archive, one of these names, and the author's `include` (a
            subset of `authors.OPT_INS`), and yields the file's items. A file that cannot be read
            further becomes a `SkippedItem`.
        finish: function that turns what all files yielded into the export's items, where one post
            needs the others; None where `read_file` yields the items.
        rejected_exports: exports rejected if no importer recognizes an archive; the first match
            applies.
        latest_only: whether an export has only the newest posts (a feed), so that missing posts do
            not count as deleted.
    """

    name: str
    title: str
    find_files: Callable[[Archive], Sequence[str]]
    read_file: Callable[[Archive, str, frozenset[str]], Iterable[Any]]
    rejected_exports: tuple[RejectedExport, ...] = ()
    latest_only: bool = False
    finish: Callable[[Archive, Iterator[Any], frozenset[str]], Iterator[ExportItem]] | None = None

    def read(self, archive: Archive, *, include: frozenset[str]) -> Iterator[ExportItem]:
        """Yield the items of an export."""
        names = self.find_files(archive)
        items = read_each(names, lambda name: self.read_file(archive, name, include))
        return self.finish(archive, items, include) if self.finish else items


def read_each(
    names: Iterable[str], read_file: Callable[[str], Iterable[_Item]]
) -> Iterator[_Item | SkippedItem]:
    """Yield the items of each file, and a `SkippedItem` where a file cannot be read further."""
    for name in names:
        try:
            yield from read_file(name)
        except (MemberError, UnreadablePostError) as error:
            yield SkippedItem(name, error.reason)


def add_text(
    record: ExportRecord, read_text: Callable[[], str], include: frozenset[str]
) -> ExportItem:
    """Return a record with its text, or why it is not taken in.

    Args:
        record: all fields but the text.
        read_text: returns the text in the record's markup; called only if the post may be read.
        include: the author's opt-ins.
    """
    if reason := find_exclusion_reason(record, include):
        return SkippedItem(record.source_id, reason)
    text = read_text()
    if record.markup == "html":
        text = remove_foreign_parts(text)
    if not (strip_tags(text) if record.markup == "html" else text.strip()):
        return SkippedItem(record.source_id, "no_text")
    return replace(record, text=text)
