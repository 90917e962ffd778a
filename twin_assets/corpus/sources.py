"""What an author's sources are: folders of plain posts, and exports by importer.

Belongs here: telling the two apart, exports that lie in a folder, refusing what neither reads.
Does not belong here: recognising a format (`importers`), reading it (`exported`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from twin_assets.corpus.exported import Exports, display_names
from twin_assets.corpus.importers.archive import Archive, open_archive
from twin_assets.corpus.importers.exports import refuse_exports
from twin_assets.corpus.importers.folders import Folder, scan
from twin_assets.corpus.importers.known import Importer, has_markdown_posts, importer_of
from twin_assets.corpus.importers.posts import markup_of
from twin_resources.errors import TwinError

IMPORT_VERSION = "2"
"""Version of `importing.read_rows` and of the importers: a higher one reads everything again."""


@dataclass(frozen=True)
class Sources:
    """An author's sources.

    Attributes:
        folders: of plain posts, in the author's order.
        exports: importer's name → its exports, in the order of the importers' first.
    """

    folders: tuple[Folder, ...]
    exports: Mapping[str, Exports]

    def require_records(self, name: str) -> None:
        """Refuse exports of which nothing is kept: an empty download is no reason to delete all.

        Raises:
            TwinError: names what was left out and why.
        """
        exports = self.exports[name]
        reading = exports.reading()
        if len(reading) or not exports.holds_all:
            return
        there = ", ".join(f"{n} × {why}" for why, n in sorted(reading.excluded.items()))
        raise TwinError(
            f"import posts from {display_names(exports.paths)}",
            found=f"a {exports.importer.TITLE} without a post to import ({there or 'empty'})",
            next_step="ask the platform for the whole archive, or let the author's `include` name "
            "what it should hold",
        )


def find_sources(sources: Sequence[str | Path], *, include: frozenset[str]) -> Sources:
    """Look at every source; folders are scanned, exports hashed, nothing is parsed.

    Raises:
        TwinError: there is none, or one cannot be read, is no known export, or has no post.
    """
    if not sources:
        raise TwinError(
            "import posts",
            found="an author without sources",
            next_step="name a folder: `twin up PATH --author NAME`",
        )
    folders: list[Folder] = []
    archives: dict[str, list[Archive]] = {}
    importers: dict[str, Importer] = {}
    with ExitStack() as stack:
        for source in map(Path, sources):
            found = list(_exports_at(source, stack))
            for importer, archive in found:
                importers.setdefault(importer.NAME, importer)
                archives.setdefault(importer.NAME, []).append(archive)
            if found and found[0][1].path == source.expanduser():
                continue
            if not found:
                refuse_exports(source)
            folder = scan(source)
            if folder.posts or not found:
                _require_posts(folder)
                folders.append(folder)
        exports = {
            name: Exports(importer, archives[name], include=include, version=IMPORT_VERSION)
            for name, importer in importers.items()
        }
    return Sources(tuple(folders), exports)


def _exports_at(source: Path, stack: ExitStack) -> Iterator[tuple[Importer, Archive]]:
    """The source itself as an export, or else those that lie in it as files.

    Not in a folder of Markdown posts: an archive there is a download that a post links to.
    """
    source = source.expanduser()
    if not source.exists():
        return
    archive = stack.enter_context(open_archive(source))
    importer = importer_of(archive)
    if importer is not None:
        yield importer, archive
        return
    if archive.kind != "folder" or has_markdown_posts(archive):
        return
    for name in archive.names():
        if "/" in name or markup_of(name):
            continue
        inner = stack.enter_context(open_archive(source / name))
        importer = importer_of(inner)
        if importer is not None:
            yield importer, inner


def _require_posts(folder: Folder) -> None:
    if folder.posts:
        return
    there = ", ".join(f"{count} × {reason}" for reason, count in folder.skipped.items())
    raise TwinError(
        f"import posts from {folder.source}",
        found=f"no Markdown or HTML post ({there or 'nothing'})",
        next_step="name the folder that holds the posts (.md, .markdown or .html)",
    )
