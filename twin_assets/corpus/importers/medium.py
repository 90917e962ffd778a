"""Import Medium's export: `posts/<date>_<title>-<id>.html`, `posts/draft_<title>-<id>.html`.

Scope: distinguishing stories, drafts and responses, and a story's fields.
Out of scope: Markdown from HTML (`html_cleaning`). Claps, highlights, bookmarks, sessions and IP
addresses, which are in other folders, are never read.

Format: https://help.medium.com/hc/en-us/articles/115004745787; a page is an `h-entry` of
https://microformats.org/wiki/h-entry.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.foreign_html import inner_html, without_foreign_parts
from twin_assets.corpus.importers.front_matter import moment
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.importer import Importer, RefusedExport
from twin_assets.corpus.importers.post_head import UnreadablePostError, decode
from twin_assets.corpus.importers.record import ExportRecord, Skipped
from twin_assets.corpus.importers.suffixes import MAX_POST_BYTES

NAME = "medium"

_PAGE = r"(?:\d{4}-\d\d-\d\d|draft)_.*-[0-9a-f]{8,14}\.html"
_IDENTIFIER = re.compile(r"-([0-9a-f]{8,14})(?:\.html)?$")
_MARKS = (b'class="h-entry"', b'class="p-name"', b'data-field="body"')
_DROPPED = frozenset(
    # the repeated title; cards and frames that show other people's pages
    {"graf--title", "graf--mixtapeEmbed", "graf--iframe", "section-divider", "js-mixtapeImage"}
)
_MAX_RESPONSE = 300
"""Words. Responses have no title of their own, and Medium adds a subtitle only to stories."""


def recognises(archive: Archive) -> bool:
    """Return whether a page with a story's name is an `h-entry` with Medium's fields."""
    return any(_is_page(archive, name) for name in _pages(archive)[:5])


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportRecord | Skipped]:
    """Yield every page of the export."""
    for name in _pages(archive):
        try:
            body = archive.read(name, limit=MAX_POST_BYTES)
            yield _story(decode(body, markup="html"), name, include=include)
        except (MemberError, UnreadablePostError) as error:
            yield Skipped(name, error.reason)


def _pages(archive: Archive) -> list[str]:
    if archive.kind == "file":
        return list(archive.names())
    return sorted({*archive.matching(_PAGE), *archive.matching(r"posts/[^/]*\.html")})


def _is_page(archive: Archive, name: str) -> bool:
    head = archive.head(name)
    return all(mark in head for mark in _MARKS)


def _story(page: str, name: str, *, include: frozenset[str]) -> ExportRecord | Skipped:
    tree = parse_html(page)
    body = None if tree is None else _first(tree, "e-content")
    if tree is None or body is None:
        return Skipped(name, "not_a_post")
    title = _text_of(_first(tree, "p-name"))
    author, published = _first(tree, "p-author"), _first(tree, "dt-published")
    canonical = _first(tree, "p-canonical")
    draft = published is None or name.rsplit("/", 1)[-1].startswith("draft_")
    response = not draft and _is_response(tree, body, title=title)
    if draft and "drafts" not in include:
        return Skipped(name, "draft")
    if response and "replies" not in include:
        return Skipped(name, "reply")
    for element in list(body.iter()):
        if isinstance(element.tag, str) and _DROPPED & set(element.classes):
            element.drop_tree()
    text = without_foreign_parts(inner_html(body))
    if not _text_of(body):
        return Skipped(name, "no_text")
    url = str(canonical.get("href") or "") if canonical is not None else ""
    return ExportRecord(
        source=NAME,
        source_id=_identifier(name, url),
        url=url,
        author=_text_of(author),
        byline="p-author" if _text_of(author) else "",
        kind="draft" if draft else "reply" if response else "article",
        title="" if response else title,
        text=text,
        markup="html",
        created_at=None if published is None else moment(str(published.get("datetime") or "")),
        visibility="private" if draft else "public",
    )


def _is_response(tree: Any, body: Any, *, title: str) -> bool:
    """Return whether a page comments on a story: short, untitled, without a story's subtitle."""
    if _first(tree, "p-summary") is not None or _first(body, "graf--title") is not None:
        return False
    if any(body.iter("h1", "h2", "h3", "h4")):
        return False
    text = _text_of(body)
    named_by_its_words = text.startswith(title.rstrip("…. ")[:40])
    return named_by_its_words and len(text.split()) <= _MAX_RESPONSE


def _identifier(name: str, url: str) -> str:
    for place in (name, url):
        if match := _IDENTIFIER.search(place):
            return match[1]
    return name.rsplit("/", 1)[-1].removesuffix(".html")


def _first(tree: Any, name: str) -> Any:
    """Return the first element with this class, or None."""
    return next(iter(tree.find_class(name)), None)


def _text_of(element: Any) -> str:
    return "" if element is None else " ".join(str(element.text_content()).split())


_IN_PART = RefusedExport(
    (
        (r"(?:\d{4}-\d\d-\d\d|draft)_.*-[0-9a-f]{10,12}\.html",),
        (r"posts/.*-[0-9a-f]{10,12}\.html", r"profile/profile\.html"),
        (r"claps/claps-\d+\.html",),
    ),
    r"Exported from <a href=\"https://medium\.com|class=\"[^\"]*graf graf--p[ \"]",
)
IMPORTER = Importer(NAME, "Medium export", recognises, read, (_IN_PART,))
