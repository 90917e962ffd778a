"""Sort an author's sources into folders of plain posts and exports, grouped by importer.

Scope: distinguishing folders from exports, finding exports in a folder or under an S3 prefix,
recognizing feeds by their address, rejecting sources that no importer reads. Out of scope:
recognizing a format (`importers`), reading it (`exports`).
"""
# pyright: strict

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from twin_assets.corpus.exports import Exports, read_exports
from twin_assets.corpus.importers import feed
from twin_assets.corpus.importers.archive import Archive, open_archive
from twin_assets.corpus.importers.feed_download import download_feed
from twin_assets.corpus.importers.folders import (
    SourceScan,
    compile_globs,
    has_markdown,
    scan_prefix,
    scan_source,
)
from twin_assets.corpus.importers.generators import is_extra_missing
from twin_assets.corpus.importers.importer import Importer
from twin_assets.corpus.importers.recognition import (
    find_importer,
    reject_unsupported_exports,
)
from twin_assets.corpus.importers.suffixes import BINARY_SUFFIXES, get_known_suffix, get_markup
from twin_assets.corpus.importers.text_formats import EXTRA
from twin_resources.errors import TwinError
from twin_resources.storage.object_store import is_object_address, list_objects, open_object
from twin_resources.storage.sources.feed_response import redact_url
from twin_resources.storage.sources.listing import is_feed

IMPORT_VERSION = "13"
"""Version of `raw_posts_import` and of the importers; if it changes, all sources are read again."""

_EXPORT = re.compile(
    r"\.(?:zip|tar|tgz|tar\.\w+|gz|bz2|xz|csv|jsonl|ndjson|js|json|xml|atom|rss|bin|download)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FailedSource:
    """A source that could not be read in this import, although others could.

    Attributes:
        importer: the importer's name, which identifies its rows (`feed`).
        address: the address for messages, without a password.
        reason: why the source could not be read.
    """

    importer: str
    address: str
    reason: str

    def __str__(self) -> str:
        return f"{self.address} could not be read ({self.reason}); its posts stay unchanged"


@dataclass(frozen=True)
class AuthorSources:
    """An author's sources.

    Attributes:
        folders: the folders of plain posts, in the author's order.
        exports: the exports by their importer's name, in the order of each importer's first export.
        failed_sources: the sources that could not be read; at least one source was read.
    """

    folders: tuple[SourceScan, ...]
    exports: Mapping[str, Exports]
    failed_sources: tuple[FailedSource, ...] = ()


def find_sources(
    sources: Sequence[str | Path], *, include: frozenset[str], exclude: Sequence[str] = ()
) -> AuthorSources:
    """Inspect every source: folders are scanned, and exports are parsed.

    A feed that does not answer does not stop the import, because servers are sometimes down. A
    missing folder or bucket is a configuration error and stops the import.

    Raises:
        TwinError: there is no source, or no source can be read. It is also raised if a source other
            than a feed cannot be read, is not a known export, or has no posts; and as in
            `read_exports`.
    """
    if not sources:
        raise TwinError(
            "import posts",
            found="the author has no sources",
            next_step="specify a folder: `twin up PATH --author NAME`",
        )
    folders: list[SourceScan] = []
    archives: dict[str, list[Archive]] = {}
    importers: dict[str, Importer] = {}
    failures: list[tuple[FailedSource, TwinError]] = []
    with ExitStack() as stack:
        # Copies of feeds and of exports in S3 are needed only until they are parsed.
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="twin-import-")))
        for source in sources:
            if is_feed(str(source)):
                try:
                    copy = download_feed(str(source), scratch)
                    matches = [(feed.IMPORTER, stack.enter_context(open_archive(copy)))]
                    folder = None
                except TwinError as error:
                    address = redact_url(str(source))
                    failures.append((FailedSource(feed.NAME, address, error.found), error))
                    continue
            elif is_object_address(source):
                matches, folder = _open_bucket(str(source), scratch, stack, exclude)
            else:
                matches, folder = _open_path(Path(source).expanduser(), stack, exclude)
            for importer, archive in matches:
                importers.setdefault(importer.name, importer)
                archives.setdefault(importer.name, []).append(archive)
            if folder is not None and (folder.posts or not matches):
                _require_posts(folder)
                folders.append(folder)
        if failures and not folders and not archives:
            raise failures[0][1]
        exports = {
            name: read_exports(importer, archives[name], include=include)
            for name, importer in importers.items()
        }
    return AuthorSources(
        tuple(folders), exports, tuple(failed_source for failed_source, _ in failures)
    )


SourceContent = tuple[list[tuple[Importer, Archive]], SourceScan | None]


def _open_path(source: Path, stack: ExitStack, exclude: Sequence[str]) -> SourceContent:
    """Return the source as an export, or as a folder of posts with the exports in it.

    Archives in a folder of Markdown posts are not exports but downloads that a post links to.
    """
    if not source.exists():
        return [], scan_source(source, exclude)
    if source.is_file() and get_known_suffix(source.name) in BINARY_SUFFIXES:
        return [], scan_source(source, exclude)  # some of these are zips but not exports
    if has_markdown(source):
        return [], scan_source(source, exclude)
    archive = stack.enter_context(open_archive(source))
    importer = find_importer(archive)
    if importer is not None:
        return [(importer, archive)], None
    inner_exports: list[tuple[Importer, Archive]] = []
    if archive.kind == "folder":
        left_out = compile_globs(exclude)
        inner_exports = _recognize_exports(
            sorted(
                path
                for path in source.iterdir()
                if _may_be_export(path.name) and not left_out.fullmatch(path.name)
            ),
            stack,
        )
    if inner_exports:
        return inner_exports, scan_source(source, exclude)
    folder = scan_source(source, exclude) if archive.kind == "folder" else None
    reject_unsupported_exports(archive, has_posts=bool(folder and folder.posts))
    return [], folder or scan_source(source, exclude)


def _open_bucket(
    source: str, scratch: Path, stack: ExitStack, exclude: Sequence[str]
) -> SourceContent:
    """Return the posts under an S3 prefix, and single-object exports (zip, tar, a data file)."""
    folder = scan_prefix(source, exclude)
    if any(get_markup(post.source_id) == "markdown" for post in folder.posts):
        return [], folder
    copies: list[Path] = []
    left_out = compile_globs(exclude)
    for remote_object in list_objects(source):
        name = remote_object.name
        if "/" in name or not _may_be_export(name) or left_out.fullmatch(name):
            continue
        copy = scratch / f"{remote_object.etag[:16]}-{remote_object.name}"
        with open_object(source, remote_object) as body, copy.open("wb") as stream:
            shutil.copyfileobj(body, stream, 1 << 20)
        copies.append(copy)
    return _recognize_exports(copies, stack), folder


def _recognize_exports(paths: Iterable[Path], stack: ExitStack) -> list[tuple[Importer, Archive]]:
    matches: list[tuple[Importer, Archive]] = []
    for path in paths:
        if not path.is_file() or path.is_symlink():
            continue
        archive = stack.enter_context(open_archive(path))
        importer = find_importer(archive)
        if importer is not None:
            matches.append((importer, archive))
    return matches


def _may_be_export(name: str) -> bool:
    return not name.startswith(".") and bool(_EXPORT.search(name))


def _require_posts(folder: SourceScan) -> None:
    if folder.posts:
        return
    reasons = ", ".join(f"{count} × {reason}" for reason, count in folder.skipped_counts.items())
    raise TwinError(
        f"import posts from {folder.source}",
        found=f"no post in a supported format ({reasons or 'no files'})",
        next_step=f"run `pip install '{EXTRA}'`, which adds support for some of these files"
        if is_extra_missing(folder.skipped_counts)
        else "specify the folder that contains the posts (for example .md, .html, .txt or .ipynb)",
    )
