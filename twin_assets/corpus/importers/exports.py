"""Exports that no importer reads, known by their content, so that none is imported as junk.

Belongs here: the marks of each format, also of those with an importer (a part of an export, a
damaged one), and what a person can do then. Does not belong here: reading posts (`known`).

A mark is a file that only this platform's export has, or words that its files begin with. What an
archive holds is looked at, never its suffix: a renamed zip is still recognised.
"""
# pyright: strict

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from twin_assets.corpus.importers.folders import display
from twin_assets.corpus.importers.posts import markup_of
from twin_assets.corpus.importers.site_layout import is_about_the_folder
from twin_resources.errors import TwinError

_HEAD_BYTES = 65_536
_NAMES_LOOKED_AT = 20_000
_HEADS_LOOKED_AT = 40
_DATA_SUFFIXES = (".xml", ".json", ".js", ".csv", ".atom")
_WHOLE = "name the whole export, zipped as the platform gave it or unpacked"
_MARKDOWN = "convert it to a folder of Markdown files (one post a file) and name that folder"


@dataclass(frozen=True)
class Format:
    """One platform's export.

    Attributes:
        name: as its users call it.
        files: alternatives; each is a tuple of patterns that must all match some file's path.
        content: pattern for the beginning of one of its files, or None.
        next_step: what to do with it today.
        imported: there is an importer, which found nothing in this one that it reads.
    """

    name: str
    files: tuple[tuple[str, ...], ...]
    content: re.Pattern[bytes] | None
    next_step: str
    imported: bool = False


def _begins(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode(), re.IGNORECASE | re.DOTALL)


FORMATS = (
    Format(
        "LinkedIn data export",
        (
            (r"Shares\.csv",),
            (r"Articles/Articles/.*\.html",),
            (r"Connections\.csv", r"Profile\.csv"),
        ),
        _begins(r"\A\W*Date,ShareLink,ShareCommentary|<a href=\"https://www\.linkedin\.com/pulse/"),
        _WHOLE,
        imported=True,
    ),
    Format(
        "Substack export",
        (
            (r"posts\.csv", r"posts/.*\.html"),
            (r"email_list\..*\.csv",),
            (r"posts/\d+\..*\.delivers\.csv",),
        ),
        _begins(r"\A\W*post_id,post_date,is_published"),
        _WHOLE,
        imported=True,
    ),
    Format(
        "Medium export",
        (
            (r"(?:\d{4}-\d\d-\d\d|draft)_.*-[0-9a-f]{10,12}\.html",),
            (r"posts/.*-[0-9a-f]{10,12}\.html", r"profile/profile\.html"),
            (r"claps/claps-\d+\.html",),
        ),
        _begins(r"Exported from <a href=\"https://medium\.com|class=\"[^\"]*graf graf--p[ \"]"),
        _WHOLE,
        imported=True,
    ),
    Format(
        "X (Twitter) archive as it was made until 2018",
        (
            (r"data/js/tweets/\d{4}_\d\d\.js",),
            (r"data/js/tweet_index\.js", r"tweets\.csv"),
        ),
        _begins(r"\A\W*(?:Grailbird\.data\.tweets_|var tweet_index\b|tweet_id\",\"in_reply_to_)"),
        "ask X for a new archive (Settings, Your account, Download an archive of your data): it "
        "holds these posts too, and is read",
    ),
    Format(
        "X (Twitter) archive",
        (
            (r"data/(?:js/)?tweets?(?:-part\d+)?\.js",),
            (r"Your archive\.html", r"data/manifest\.js"),
        ),
        _begins(r"\A\s*window\.YTD\."),
        _WHOLE,
        imported=True,
    ),
    Format(
        "WordPress export (WXR)",
        (),
        _begins(r"\A.{0,4000}xmlns:wp=\"https?://wordpress\.org/export/"),
        _WHOLE,
        imported=True,
    ),
    Format(
        "Mastodon archive",
        ((r"outbox\.json", r"actor\.json"),),
        _begins(r"\A\s*\{.{0,400}activitystreams.{0,4000}\"(?:OrderedCollection|Person)\""),
        _WHOLE,
        imported=True,
    ),
    Format(
        "Ghost export",
        ((r".*\.ghost\.\d{4}-.*\.json",),),
        _begins(r"\A\s*\{\s*\"(?:db\"\s*:\s*\[\s*\{\s*\"meta|meta\"\s*:\s*\{\s*\"exported_on)"),
        _WHOLE,
        imported=True,
    ),
    Format(
        "Blogger export",
        ((r"Blogger/Blogs/.*/feed\.atom",),),
        _begins(r"\A\s*<.{0,4000}(?:>Blogger</generator|schemas\.google\.com/blogger)"),
        _MARKDOWN,
    ),
    Format(
        "Tumblr export",
        ((r"posts/posts\.xml",), (r"posts_index\.html",)),
        None,
        _MARKDOWN,
    ),
    Format(
        "RSS or Atom feed",
        (),
        _begins(r"\A\W*(?:<\?xml[^>]*>)?(?:\s*<[?!][^>]*>)*\s*<(?:rss|feed|rdf:RDF)[\s>]"),
        _WHOLE,
        imported=True,
    ),
)
"""In the order in which they are tried: a WordPress export is also an RSS feed."""

_CONTAINERS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "a PDF file", _MARKDOWN),
    (b"SQLite format 3\0", "an SQLite database", _MARKDOWN),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it and name the folder"),
    (b"Rar!", "a RAR archive", "unpack it and name the folder"),
)


def refuse_exports(source: Path) -> None:
    """Return when `source` may hold plain posts; else say what it is.

    Raises:
        TwinError: `source` is an export that no importer reads, or an archive of something else.
    """
    source = source.expanduser()
    tried = f"import {display(source)}"
    found = recognise(source)
    if found is not None:
        raise TwinError(
            tried,
            found=f"a {found.name} without a post that can be read"
            if found.imported
            else f"the format {found.name}, which is not imported yet",
            next_step=found.next_step,
        )
    if not source.is_file():
        return
    head = _head(source)
    for mark, name, next_step in _CONTAINERS:
        if head.startswith(mark):
            raise TwinError(tried, found=name, next_step=next_step)
    if zipfile.is_zipfile(source) or tarfile.is_tarfile(source):
        raise TwinError(
            tried,
            found="an archive that is no platform's export we know",
            next_step="unpack it and name the folder",
        )


def recognise(source: Path) -> Format | None:
    """The format of a file, an archive or a folder; None when it is none of `FORMATS`.

    Of a folder or archive the first 20,000 names and the beginnings of at most 40 files are read.
    """
    try:
        if source.is_dir():
            return _recognise_folder(source)
        if not source.is_file():
            return None
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                names = archive.namelist()[:_NAMES_LOOKED_AT]
                return _by_names(names) or _by_content(names, lambda name: _zip_head(archive, name))
        if tarfile.is_tarfile(source):
            with tarfile.open(source) as archive:
                return _by_names(member.name for member in islice(archive, _NAMES_LOOKED_AT))
        return _by_content([source.name], lambda _: _head(source))
    except (OSError, zipfile.BadZipFile, tarfile.TarError):
        return None  # not readable as such: the importer that comes next says what is wrong with it


def _recognise_folder(folder: Path) -> Format | None:
    """A folder with Markdown posts is no export, whatever feed or archive lies among them."""
    names = [path.relative_to(folder).as_posix() for path in _files(folder)]
    if any(markup_of(name) == "markdown" and not is_about_the_folder(name) for name in names):
        return None
    known = _by_names(names) or _by_content(names, lambda name: _head(folder / name))
    if known is None:
        packed = [name for name in names if name.lower().endswith((".zip", ".gz", ".tgz"))]
        known = next(filter(None, (recognise(folder / name) for name in packed[:5])), None)
    return known


def _by_names(names: Iterable[str]) -> Format | None:
    text = "\n".join(names)
    for known in FORMATS:
        for patterns in known.files:
            if all(re.search(rf"^(?:.*/)?{pattern}$", text, re.MULTILINE) for pattern in patterns):
                return known
    return None


def _by_content(names: list[str], head_of: Callable[[str], bytes]) -> Format | None:
    """The format by the beginnings of files: data files first, then a few pages.

    Markdown is not looked at: a post may quote a feed.
    """
    data = [name for name in names if name.lower().endswith(_DATA_SUFFIXES)]
    pages = [name for name in names if name.lower().endswith((".html", ".htm"))][:3]
    alone = names if len(names) == 1 and not names[0].lower().endswith((".md", ".markdown")) else []
    for name in dict.fromkeys([*alone, *data[:_HEADS_LOOKED_AT], *pages]):
        head = head_of(name)
        for known in FORMATS:
            if known.content is not None and known.content.search(head):
                return known
    return None


def _files(folder: Path) -> Iterator[Path]:
    """Names of a folder, the outer ones first, hidden folders left out."""
    waiting, seen = [folder], 0
    while waiting and seen < _NAMES_LOOKED_AT:
        for path in sorted(waiting.pop(0).iterdir()):
            if path.name.startswith(".") or path.is_symlink():
                continue
            seen += 1
            if path.is_dir():
                waiting.append(path)
            else:
                yield path


def _head(path: Path) -> bytes:
    """The beginning and the end of a file: Medium names itself in the last lines of a page."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        if path.stat().st_size > 2 * _HEAD_BYTES:
            stream.seek(-_HEAD_BYTES, 2)
        return head + stream.read(_HEAD_BYTES)


def _zip_head(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as stream:
        return stream.read(_HEAD_BYTES)
