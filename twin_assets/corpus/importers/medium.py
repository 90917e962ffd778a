"""Import Medium's export: `posts/<date>_<title>-<id>.html`, `posts/draft_<title>-<id>.html`.

Scope: distinguishing stories, drafts and responses, and reading a story's fields.
Out of scope: converting HTML to Markdown (`html_cleaning`). Claps, highlights, bookmarks, sessions
and IP addresses are in other folders, which are never read.

Format: https://help.medium.com/hc/en-us/articles/115004745787. Each page is an `h-entry`
(https://microformats.org/wiki/h-entry).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from twin_assets.corpus.importers.foreign_html import remove_foreign_parts, serialize_inner_html
from twin_assets.corpus.importers.front_matter import parse_datetime
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.importer import Importer, RejectedExport, read_files
from twin_assets.corpus.importers.members import Archive
from twin_assets.corpus.importers.post_head import decode
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem
from twin_assets.corpus.importers.suffixes import MAX_POST_BYTES

NAME = "medium"

_PAGE = r"(?:\d{4}-\d\d-\d\d|draft)_.*-[0-9a-f]{8,14}\.html"
_IDENTIFIER = re.compile(r"-([0-9a-f]{8,14})(?:\.html)?$")
_PAGE_MARKERS = (b'class="h-entry"', b'class="p-name"', b'data-field="body"')
_DROPPED_CLASSES = frozenset(
    # the repeated title, and cards and frames that show other people's pages
    {"graf--title", "graf--mixtapeEmbed", "graf--iframe", "section-divider", "js-mixtapeImage"}
)
_MAX_RESPONSE_WORDS = 300
"""Maximum number of words in a response; responses have neither a title nor a subtitle."""


def recognizes(archive: Archive) -> bool:
    """Return whether a page named like a story is an `h-entry` with Medium's fields."""
    return any(_is_page(archive, name) for name in _list_pages(archive)[:5])


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield a record or a skipped item for each page of the export."""

    def read_story(name: str) -> Iterator[ExportItem]:
        body = archive.read(name, max_bytes=MAX_POST_BYTES)
        yield _build_story_record(decode(body, markup="html"), name, include=include)

    return read_files(_list_pages(archive), read_story)


def _list_pages(archive: Archive) -> list[str]:
    if archive.kind == "file":
        return list(archive.names())
    return sorted({*archive.names_matching(_PAGE), *archive.names_matching(r"posts/[^/]*\.html")})


def _is_page(archive: Archive, name: str) -> bool:
    head = archive.head(name)
    return all(marker in head for marker in _PAGE_MARKERS)


def _build_story_record(page: str, name: str, *, include: frozenset[str]) -> ExportItem:
    tree = parse_html(page)
    body = None if tree is None else _find_by_class(tree, "e-content")
    if tree is None or body is None:
        return SkippedItem(name, "not_a_post")
    title = _get_element_text(_find_by_class(tree, "p-name"))
    author_element = _find_by_class(tree, "p-author")
    date_element = _find_by_class(tree, "dt-published")
    canonical_link = _find_by_class(tree, "p-canonical")
    is_draft = date_element is None or name.rsplit("/", 1)[-1].startswith("draft_")
    is_response = not is_draft and _is_response(tree, body, title=title)
    if is_draft and "drafts" not in include:
        return SkippedItem(name, "draft")
    if is_response and "replies" not in include:
        return SkippedItem(name, "reply")
    for element in list(body.iter()):
        if isinstance(element.tag, str) and _DROPPED_CLASSES & set(element.classes):
            element.drop_tree()
    text = remove_foreign_parts(serialize_inner_html(body))
    if not _get_element_text(body):
        return SkippedItem(name, "no_text")
    url = str(canonical_link.get("href") or "") if canonical_link is not None else ""
    return ExportRecord(
        source=NAME,
        source_id=_find_identifier(name, url),
        url=url,
        author=_get_element_text(author_element),
        byline="p-author" if _get_element_text(author_element) else "",
        kind="draft" if is_draft else "reply" if is_response else "article",
        title="" if is_response else title,
        text=text,
        markup="html",
        created_at=None
        if date_element is None
        else parse_datetime(str(date_element.get("datetime") or "")),
        visibility="private" if is_draft else "public",
    )


def _is_response(tree: Any, body: Any, *, title: str) -> bool:
    """Return whether a page is a comment on a story: short, without a title or subtitle."""
    if (
        _find_by_class(tree, "p-summary") is not None
        or _find_by_class(body, "graf--title") is not None
    ):
        return False
    if any(body.iter("h1", "h2", "h3", "h4")):
        return False
    text = _get_element_text(body)
    title_is_excerpt = text.startswith(title.rstrip("…. ")[:40])
    return title_is_excerpt and len(text.split()) <= _MAX_RESPONSE_WORDS


def _find_identifier(name: str, url: str) -> str:
    for candidate in (name, url):
        if match := _IDENTIFIER.search(candidate):
            return match[1]
    return name.rsplit("/", 1)[-1].removesuffix(".html")


def _find_by_class(tree: Any, name: str) -> Any:
    """Return the first element with this class, or None."""
    return next(iter(tree.find_class(name)), None)


def _get_element_text(element: Any) -> str:
    return "" if element is None else " ".join(str(element.text_content()).split())


_PARTIAL_EXPORT = RejectedExport(
    (
        (r"(?:\d{4}-\d\d-\d\d|draft)_.*-[0-9a-f]{10,12}\.html",),
        (r"posts/.*-[0-9a-f]{10,12}\.html", r"profile/profile\.html"),
        (r"claps/claps-\d+\.html",),
    ),
    r"Exported from <a href=\"https://medium\.com|class=\"[^\"]*graf graf--p[ \"]",
)
IMPORTER = Importer(NAME, "Medium export", recognizes, read, (_PARTIAL_EXPORT,))
