"""Choose the importer for a source, and reject known formats that no importer reads.

Scope: the importers in the order in which they are tried, and unsupported formats.
Out of scope: recognizing and reading an export (each platform's importer).

Archives are recognized by their content, never by their suffix, so a renamed zip still works.
"""
# pyright: strict

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from itertools import chain

from twin_assets.corpus.importers import blog_exports, feed, linkedin, network_exports, table
from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.importer import CONVERT_ADVICE, Importer, RejectedExport
from twin_resources.errors import TwinError
from twin_resources.storage.sources.listing import display_path

IMPORTERS: tuple[Importer, ...] = (
    linkedin.IMPORTER,
    blog_exports.MEDIUM,
    blog_exports.SUBSTACK,
    network_exports.X,
    network_exports.MASTODON,
    blog_exports.WORDPRESS,
    blog_exports.GHOST,
    feed.IMPORTER,
    table.IMPORTER,
)
"""Importers in the order of use; a WordPress export is also a feed, and `posts.csv` a table."""

_COPY_OWN_WORDS = (
    "copy the author's own words into a table (deploy/docs/your-blog.md, A table of posts) and "
    "import it"
)
UNSUPPORTED_EXPORTS = (
    RejectedExport(
        ((r"messages\.html", r"css/style\.css"),),
        r'\A\s*\{\s*"(?:about|name)":.{0,300}"type":\s*"\w+_(?:chat|group|channel|supergroup)"',
        title="Telegram chat",
        next_step=_COPY_OWN_WORDS,
    ),
    RejectedExport(
        ((r"_chat\.txt",), (r"WhatsApp Chat [^/]+\.txt",)),
        title="WhatsApp chat",
        next_step=_COPY_OWN_WORDS,
        is_ignored_beside_posts=True,
    ),
    RejectedExport(
        ((r"channels\.json", r"users\.json"), (r"dms\.json", r"users\.json")),
        title="Slack export",
        next_step=_COPY_OWN_WORDS,
    ),
    RejectedExport(
        ((r"(?i:messages)/index\.json", r"(?i:messages)/c?\d+/messages\.(?:json|csv)"),),
        r'\A\W*(?:AuthorID,Author,Date,Content|\{\s*"guild":\s*\{)',
        title="Discord chat",
        next_step=_COPY_OWN_WORDS,
    ),
    RejectedExport(
        ((r"Google Chat/(?:Groups|Users)/.*\.json",),),
        title="Google Chat export",
        next_step=_COPY_OWN_WORDS,
    ),
    RejectedExport(
        content=r'\A\s*\[\s*\{.{0,4000}"(?:mapping|chat_messages)":\s*[\[{]',
        title="talk with an assistant (ChatGPT, Claude)",
        next_step=_COPY_OWN_WORDS,
    ),
    RejectedExport(
        ((r".*\.mbox",),),
        r"\AFrom \S+ [^\n]*\d{4}[^\n]*\n[A-Za-z-]+: ",
        title="mailbox",
        next_step=_COPY_OWN_WORDS,
        is_ignored_beside_posts=True,
    ),
    RejectedExport(
        ((r"posts/posts.xml",), (r"posts_index\.html",)),
        title="Tumblr export",
        next_step=CONVERT_ADVICE,
    ),
    RejectedExport(
        (
            (r"your_(?:facebook|instagram)_activity/.*",),
            (r"messages/inbox/.*/message_\d+\.(?:json|html)",),
        ),
        title="Facebook or Instagram export",
        next_step=CONVERT_ADVICE,
    ),
    RejectedExport(
        ((r"subscribed_subreddits\.csv",),),
        r"\Aid,permalink,date,",
        title="Reddit export",
        next_step=CONVERT_ADVICE,
    ),
    RejectedExport(
        ((r"repo\.car",),),
        r"\A.{1,3}\xa2eroots",
        title="Bluesky export",
        next_step=CONVERT_ADVICE,
    ),
)

_MAX_NAMES = 20_000
_MAX_DATA_FILES = 40
_DATA_SUFFIXES = (".xml", ".json", ".js", ".csv", ".atom")
_UNPACK = "unpack it and import the folder"
_UNSUPPORTED_FORMATS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "a PDF file", CONVERT_ADVICE),
    (b"SQLite format 3\0", "an SQLite database", CONVERT_ADVICE),
    (b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
)


def find_importer(archive: Archive) -> Importer | None:
    """Return the importer that reads this archive, or None for plain posts or an unknown format."""
    return next((importer for importer in IMPORTERS if importer.find_files(archive)), None)


def reject_unsupported_exports(archive: Archive, *, has_posts: bool = False) -> None:
    """Reject an archive that no importer recognizes, unless it may contain plain posts.

    Args:
        has_posts: whether the folder has posts beside what is recognized; a site's folder usually
            has a feed too, which is then no reason.

    Raises:
        TwinError: the archive is an export without a readable post, or not a known export.
    """
    action = f"import {display_path(archive.path)}"
    if rejection := _find_rejection(archive, has_posts=has_posts):
        raise TwinError(action, found=rejection[0], next_step=rejection[1])
    if not has_posts:
        table.explain_unread_table(archive)
    if archive.kind == "folder":
        return
    with archive.path.open("rb") as stream:
        head = stream.read(16)
    for prefix, name, next_step in _UNSUPPORTED_FORMATS:
        if head.startswith(prefix):
            raise TwinError(action, found=name, next_step=next_step)
    if archive.kind != "file" or tarfile.is_tarfile(archive.path):
        message = "an archive that is not a known platform's export"
        raise TwinError(action, found=message, next_step=_UNPACK)


def _find_rejection(archive: Archive, *, has_posts: bool) -> tuple[str, str] | None:
    """Return the name of a known export without readable posts and the next step, or None.

    This checks the first 20,000 names, outermost first, and the beginnings of at most 44 files.
    """
    names = sorted(archive.names(), key=lambda name: name.count("/"))[:_MAX_NAMES]
    known_exports = [
        (importer.title, rejected_export)
        for importer in IMPORTERS
        for rejected_export in importer.rejected_exports
    ]
    known_exports += [("", unsupported_export) for unsupported_export in UNSUPPORTED_EXPORTS]
    known_exports = [
        (title, export)
        for title, export in known_exports
        if not (has_posts and export.is_ignored_beside_posts)
    ]
    paths = "\n".join(names)
    name_matches = (
        known_export for known_export in known_exports if known_export[1].matches_names(paths)
    )
    content_matches = (
        known_export
        for name in _list_files_to_check(archive, names)
        for head in [archive.head(name)]
        for known_export in known_exports
        if known_export[1].matches_head(head)
    )
    try:
        title, export = next(chain(name_matches, content_matches), ("", None))
    except MemberError:
        return None  # reading the archive as posts reports the error
    if export is None:
        return None
    if export.title:
        return f"{export.title}, a format that cannot be imported yet", export.next_step
    return f"no readable post in the {title}", export.next_step


def _list_files_to_check(archive: Archive, names: list[str]) -> Iterable[str]:
    """Return the members whose beginnings are checked: data files first, then a few pages.

    Markdown is excluded, because a post may quote a feed. A tar is recognized only by its names.
    """
    if archive.kind == "tar":
        return ()
    data_files = [name for name in names if name.lower().endswith(_DATA_SUFFIXES)]
    pages = [name for name in names if name.lower().endswith((".html", ".htm"))][:3]
    single_file = (
        names if len(names) == 1 and not names[0].lower().endswith((".md", ".markdown")) else []
    )
    return dict.fromkeys([*single_file, *data_files[:_MAX_DATA_FILES], *pages])
