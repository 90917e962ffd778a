"""Define an importer: the exports that it reads, and those of its platform that it rejects.

Scope: the classes of an importer.
Out of scope: the list of importers (`recognition`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from twin_assets.corpus.importers.members import Archive, MemberError
from twin_assets.corpus.importers.post_head import UnreadablePostError
from twin_assets.corpus.importers.record import ExportItem, SkippedItem

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
class Importer:
    """The functions that recognize and read one platform's exports.

    Attributes:
        name: `source` of its records (`linkedin`).
        title: the name that users know the format by (`LinkedIn data export`).
        recognizes: function that tests an archive's content, not its name, and returns the names of
            its files or a truth value.
        read: function that takes an archive and `include` (a subset of `authors.OPT_INS`) and
            yields the export's items, with a `SkippedItem` for each unreadable one.
        rejected_exports: exports rejected if no importer recognizes an archive; the first match
            applies.
        latest_only: whether an export has only the newest posts (a feed), so that missing posts do
            not count as deleted.
    """

    name: str
    title: str
    recognizes: Callable[[Archive], object]
    read: Callable[..., Iterator[ExportItem]]
    rejected_exports: tuple[RejectedExport, ...] = ()
    latest_only: bool = False


def read_files(
    names: Iterable[str], read_file: Callable[[str], Iterable[_Item]]
) -> Iterator[_Item | SkippedItem]:
    """Yield the items of each file, and a `SkippedItem` where a file cannot be read further."""
    for name in names:
        try:
            yield from read_file(name)
        except (MemberError, UnreadablePostError) as error:
            yield SkippedItem(name, error.reason)
