"""The importers there are, which of them reads a source, and what is refused by its name.

Scope: one line an importer, the order of the questions. Out of scope: what an export
is known by and how it is read (one importer a platform).

What an archive holds is looked at, never its suffix: a renamed zip is still recognised.
"""
# pyright: strict

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from itertools import chain

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
from twin_assets.corpus.importers.archive import Archive, MemberError, open_archive
from twin_assets.corpus.importers.folders import display
from twin_assets.corpus.importers.importer import TO_MARKDOWN, Importer, RefusedExport
from twin_assets.corpus.importers.site_layout import is_about_the_folder
from twin_assets.corpus.importers.suffixes import markup_of
from twin_resources.errors import TwinError

IMPORTERS: tuple[Importer, ...] = (
    git_prose.IMPORTER,
    linkedin.IMPORTER,
    medium.IMPORTER,
    substack.IMPORTER,
    x_archive.IMPORTER,
    mastodon.IMPORTER,
    wordpress.IMPORTER,
    ghost.IMPORTER,
    feed.IMPORTER,
)
"""In the order in which they are asked: a WordPress export is also an RSS feed."""

_OWN_WORDS = "copy what the author says in it into a folder of Markdown files and name that folder"
WITHOUT_IMPORTER = (
    RefusedExport(
        ((r"_chat\.txt",), (r"WhatsApp [^/]*\.txt",)),
        title="WhatsApp chat",
        next_step=_OWN_WORDS,
    ),
    RefusedExport(
        ((r"messages\.html", r"css/style\.css"),),
        r'\A\s*\{\s*"(?:about|name)":.{0,300}"type":\s*"\w+_(?:chat|group|channel|supergroup)"',
        title="Telegram chat",
        next_step=_OWN_WORDS,
    ),
    RefusedExport(
        ((r"channels\.json", r"users\.json"),), title="Slack export", next_step=_OWN_WORDS
    ),
    RefusedExport(
        ((r"messages/index\.json",),), title="Discord data package", next_step=_OWN_WORDS
    ),
    RefusedExport(
        (("posts/posts.xml",), (r"posts_index\.html",)),
        title="Tumblr export",
        next_step=TO_MARKDOWN,
    ),
)

_NAMES_LOOKED_AT = 20_000
_HEADS_LOOKED_AT = 40
_DATA_SUFFIXES = (".xml", ".json", ".js", ".csv", ".atom")
_UNPACK = "unpack it and name the folder"
_CONTAINERS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "a PDF file", TO_MARKDOWN),
    (b"SQLite format 3\0", "an SQLite database", TO_MARKDOWN),
    (b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
)


def importer_of(archive: Archive) -> Importer | None:
    """The importer that reads this archive; None: a folder or file of plain posts, or unknown.

    A folder with Markdown posts is no export, whatever feed or archive lies among them.
    """
    markdown = has_markdown_posts(archive)
    candidates = (one for one in IMPORTERS if one.beside_markdown or not markdown)
    return next((importer for importer in candidates if importer.recognises(archive)), None)


def has_markdown_posts(archive: Archive) -> bool:
    """Whether it is a folder with posts in Markdown, beyond the files about the folder itself."""
    return archive.kind == "folder" and any(
        markup_of(name) == "markdown" and not is_about_the_folder(name) for name in archive.names()
    )


def refuse_exports(archive: Archive) -> None:
    """Return when what no importer recognises may hold plain posts; else say what it is.

    Raises:
        TwinError: it is an export without a post that an importer reads, or an archive of something
            else.
    """
    tried = f"import {display(archive.path)}"
    if known := _refused(archive):
        raise TwinError(tried, found=known[0], next_step=known[1])
    if archive.kind == "folder":
        return
    with archive.path.open("rb") as stream:
        head = stream.read(16)
    for mark, name, next_step in _CONTAINERS:
        if head.startswith(mark):
            raise TwinError(tried, found=name, next_step=next_step)
    if archive.kind != "file" or tarfile.is_tarfile(archive.path):
        message = "an archive that is no platform's export we know"
        raise TwinError(tried, found=message, next_step=_UNPACK)


def _refused(archive: Archive) -> tuple[str, str] | None:
    """What an export without a post is called, and what to do; None: none that is known.

    The first 20,000 names, the outer ones first, and the beginnings of at most 44 files are read.
    """
    if has_markdown_posts(archive):
        return None
    names = sorted(archive.names(), key=lambda name: name.count("/"))[:_NAMES_LOOKED_AT]
    known = [(importer.title, refused) for importer in IMPORTERS for refused in importer.refuses]
    known += [("", one) for one in WITHOUT_IMPORTER]
    paths = "\n".join(names)
    by_name = (named for named in known if named[1].in_names(paths))
    by_content = (
        named
        for name in _telling(archive, names)
        for head in [archive.ends(name)]
        for named in known
        if named[1].in_head(head)
    )
    try:
        title, reason = next(chain(by_name, by_content), ("", None))
    except MemberError:
        return None  # not readable as such: who reads it as posts says what is wrong with it
    if reason is None:
        return _refused_within(archive, names)
    if reason.title:
        return f"the format {reason.title}, which is not imported yet", reason.next_step
    return f"a {title} without a post that can be read", reason.next_step


def _telling(archive: Archive, names: list[str]) -> Iterable[str]:
    """Members whose beginnings are looked at: data files first, then a few pages.

    Markdown is not: a post may quote a feed. Of a tar the names have to do.
    """
    if archive.kind == "tar":
        return ()
    data = [name for name in names if name.lower().endswith(_DATA_SUFFIXES)]
    pages = [name for name in names if name.lower().endswith((".html", ".htm"))][:3]
    alone = names if len(names) == 1 and not names[0].lower().endswith((".md", ".markdown")) else []
    return dict.fromkeys([*alone, *data[:_HEADS_LOOKED_AT], *pages])


def _refused_within(archive: Archive, names: list[str]) -> tuple[str, str] | None:
    """The same of the first five archives that lie in a folder."""
    packed = [name for name in names if name.lower().endswith((".zip", ".gz", ".tgz"))]
    for name in packed[:5] if archive.kind == "folder" else ():
        try:
            with open_archive(archive.path / name) as inner:
                refusal = _refused(inner)
        except TwinError:
            continue  # a torn download among posts is none of them
        if refusal:
            return refusal
    return None
