"""Import the published posts of a WordPress export (WXR, an RSS feed with `wp:` elements).

Scope: items, their authors, and their visibility.
Out of scope: the text's markup (`wordpress_text`), and live feeds (`feed`). Comments, which other
people wrote, are counted but not read.

Format: https://developer.wordpress.org/reference/functions/export_wp/.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from twin_assets.corpus.importers.foreign_html import remove_foreign_parts, strip_tags
from twin_assets.corpus.importers.front_matter import parse_datetime
from twin_assets.corpus.importers.importer import Importer, RejectedExport, read_files
from twin_assets.corpus.importers.members import Archive
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem
from twin_assets.corpus.importers.wordpress_text import convert_to_html
from twin_assets.corpus.importers.xml_items import has_merged_items, iter_elements

NAME = "wordpress"

# One marker is enough; a damaged export that was read as a feed would show drafts as posts.
_EXPORT_MARKER = re.compile(
    rb"xmlns:wp=|wordpress\.org/export/|<wp:wxr_version>|WordPress eXtended RSS|<wp:post_type>"
)
_ANY_NAMESPACE = "{*}"  # each export version has a different namespace
_CREATOR = "{*}creator"
_CONTENT = "{http://purl.org/rss/1.0/modules/content/}encoded"
_STATUSES = {
    "publish": "public",
    "private": "private",
    "draft": "draft",
    "pending": "draft",
    "future": "draft",
    "auto-draft": "draft",
    "trash": "trash",
}


@dataclass
class _Channel:
    """The channel's fields, which precede its items."""

    host: str = ""
    language: str = ""
    names_by_login: dict[str, str] = field(default_factory=dict[str, str])


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield published posts; `include` may add `drafts` and `private` (with password-protected)."""
    return read_files(_list_exports(archive), lambda name: _read_items(archive, name, include))


def _read_items(archive: Archive, name: str, include: frozenset[str]) -> Iterator[ExportItem]:
    channel = _read_channel(archive.head(name).decode("utf-8", "replace"))
    for number, element in enumerate(
        iter_elements(archive, name, f"{_ANY_NAMESPACE}author", "item")
    ):
        if element.tag == "item":
            yield from _build_item_records(element, channel, include, location=f"{name}#{number}")
        else:
            login = _read_text(element, f"{_ANY_NAMESPACE}author_login")
            channel.names_by_login[login] = (
                _read_text(element, f"{_ANY_NAMESPACE}author_display_name") or login
            )


def _list_exports(archive: Archive) -> list[str]:
    """Return the files that contain a marker of a WordPress export."""
    names = archive.candidates(r"[^/]+\.(?:xml|wxr)")[:200]
    return [
        name
        for name in names
        if _EXPORT_MARKER.search(head := archive.head(name)) and b"<" in head[:200]
    ]


def _read_channel(head: str) -> _Channel:
    """Return the channel's address and language."""
    channel = _Channel()
    for tag in ("wp:base_blog_url", "wp:base_site_url", "link"):
        match = re.search(rf"<{tag}>\s*(?:<!\[CDATA\[)?\s*https?://([^\s<\]]+)", head)
        channel.host = channel.host or (match[1].rstrip("/") if match else "")
    match = re.search(r"<language>\s*(?:<!\[CDATA\[)?\s*([A-Za-z]{2,3}(?:-\w+)*)", head)
    channel.language = match[1] if match else ""
    return channel


def _build_item_records(
    element: Any, channel: _Channel, include: frozenset[str], *, location: str
) -> Iterator[ExportItem]:
    post_id, kind = (
        _read_text(element, f"{_ANY_NAMESPACE}{name}") for name in ("post_id", "post_type")
    )
    if not post_id or not kind or has_merged_items(element):
        yield SkippedItem(location, "malformed_row")
        return
    source_id = f"{channel.host}/{post_id}" if channel.host else post_id
    for comment in element.iter(f"{_ANY_NAMESPACE}comment"):
        yield SkippedItem(
            f"{source_id}#{_read_text(comment, f'{_ANY_NAMESPACE}comment_id')}", "comment"
        )
    if kind != "post":
        yield SkippedItem(source_id, "page" if kind == "page" else "not_a_post")
        return
    status = _STATUSES.get(_read_text(element, f"{_ANY_NAMESPACE}status"), "draft")
    if status == "public" and _read_text(element, f"{_ANY_NAMESPACE}post_password"):
        status = "private"
    categories = [
        (str(tag.get("domain") or ""), strip_tags(tag.text or ""), str(tag.get("nicename") or ""))
        for tag in element.iter("category")
    ]
    reason = _find_skip_reason(status, categories, include)
    text = "" if reason else remove_foreign_parts(convert_to_html(_read_text(element, _CONTENT)))
    if not reason and not strip_tags(text):
        reason = "no_text"
    if reason:
        yield SkippedItem(source_id, reason)
        return
    login = _read_text(element, _CREATOR)
    link = _read_text(element, "link") or _read_text(element, "guid")
    yield ExportRecord(
        source=NAME,
        source_id=source_id,
        text=text,
        kind="draft" if status == "draft" else "post",
        title=strip_tags(_read_text(element, "title")),
        url=link if link.startswith(("http://", "https://")) and "?p=" not in link else "",
        author=channel.names_by_login.get(login, login),
        byline="dc:creator" if login else "",
        markup="html",
        language=channel.language,
        created_at=_read_first_time(element, "post_date_gmt", "pubDate", "post_date"),
        updated_at=_read_first_time(element, "post_modified_gmt", "post_modified"),
        visibility="private" if status in {"private", "draft"} else "public",
        tags=tuple(
            dict.fromkeys(
                name for domain, name, _ in categories if domain in {"post_tag", "tag", "category"}
            )
        ),
    )


def _find_skip_reason(
    status: str, categories: list[tuple[str, str, str]], include: frozenset[str]
) -> str:
    if status == "draft":
        return "" if "drafts" in include else "draft"
    if status == "private":
        return "" if "private" in include else "private"
    if status == "trash":
        return "trash"
    # A post with the format "quote" contains another person's words.
    is_quotation = any(
        domain == "post_format" and nicename == "post-format-quote"
        for domain, _, nicename in categories
    )
    return "quote" if is_quotation else ""


def _read_text(element: Any, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _read_first_time(element: Any, *names: str) -> datetime | None:
    """Return the first time that is set; a time without a zone counts as UTC."""
    for name in names:
        text = _read_text(element, name if name == "pubDate" else f"{_ANY_NAMESPACE}{name}")
        if text and not text.startswith("0000") and (time := parse_datetime(text)):
            return time
    return None


_PARTIAL_EXPORT = RejectedExport(content=r"\A.{0,4000}xmlns:wp=\"https?://wordpress\.org/export/")
IMPORTER = Importer(NAME, "WordPress export (WXR)", _list_exports, read, (_PARTIAL_EXPORT,))
