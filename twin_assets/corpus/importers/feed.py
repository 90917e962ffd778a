"""Import RSS and Atom feeds with full texts, from a file or a download (`feed_download`).

Scope: reading entries, rejecting incomplete ones, and removing a platform's additions.
Out of scope: fetching (`feed_download`), WordPress's export, which resembles a feed.

Formats: https://www.rssboard.org/rss-specification, https://www.rfc-editor.org/rfc/rfc4287, and
Blogger's export (Atom with comments, drafts and settings among the entries). feedparser
(https://feedparser.readthedocs.io/) reads as much of a damaged feed as it can parse. A damaged
Blogger export is rejected as a whole, because the damage could turn a draft into a post.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.blog_exports import MERGED_ITEM
from twin_assets.corpus.importers.foreign_html import remove_foreign_parts, strip_tags
from twin_assets.corpus.importers.front_matter import parse_local_datetime
from twin_assets.corpus.importers.importer import (
    CONVERT_ADVICE,
    Importer,
    RejectedExport,
)
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem

NAME = "feed"

_ROOT = re.compile(
    r"\A\W*(?:<\?xml[^>]*>)?(?:\s|<!--.{0,2000}?-->|<\?[^>]*>|<!DOCTYPE[^>\[]*>)*"
    r"<(rss|feed|rdf:RDF)(?=[\s>])",
    re.DOTALL | re.IGNORECASE,
)
_FEED_END = re.compile(rb"</(?:rss|feed|rdf:RDF)\s*>\s*\Z", re.IGNORECASE)
_SUFFIX = re.compile(r"\.(?:xml|rss|atom|rdf)$", re.IGNORECASE)
_WORDPRESS_EXPORT = re.compile(rb"<wp:(?:post_type|status|post_id)\b")
_BLOGGER_EXPORT = re.compile(rb"schemas\.google\.com/blogger|blogger/2008/kind#|<blogger:")
_APPEARED_ON_NOTE = re.compile(
    r"<p>\s*The post\s*<a\b[^<>]*>[^<>]*</a>\s*(?:appeared|first appeared) (?:first )?on"
    r"\s*<a\b[^<>]*>[^<>]*</a>\s*\.?\s*</p>\s*\Z",
    re.IGNORECASE,
)
# The end of a cut-off body: `[…]`, or a separate line or element that links to the full text.
_CUT_OFF = re.compile(
    r"(?:\[(?:…|\.\.\.)\]|(?:[>\n…]|\.\.\.)\s*(?:continue reading|read (?:more|on|the rest)|"
    r"weiterlesen|lire la suite|leer más)\b[^<.!?]{0,120})(?:\s|[→»›…]|<[^<>]*>)*\Z",
    re.IGNORECASE,
)
_ELLIPSIS = re.compile(r"(?:…|\.\.\.)\W*\Z")
_HTML = re.compile(r"<[a-zA-Z!/]")
_MAX_BLURB_WORDS = 120
"""A titled entry with a plain description of at most this many words is a summary, not the post."""


def list_feeds(archive: Archive) -> list[str]:
    """Return the names of the feeds in an archive; [] if it also contains pages or other data."""
    names = list(archive.names())
    blogger_feeds = archive.names_matching(r"Blogger/Blogs/.*/feed\.atom")
    if blogger_feeds:
        return blogger_feeds
    # A feed next to pages or other data repeats their content.
    if len(names) > 1 and not all(_SUFFIX.search(name) for name in names[:5000]):
        return []
    return [name for name in names[:5000] if _is_feed(archive, name)]


def _is_feed(archive: Archive, name: str) -> bool:
    head = archive.head(name)
    is_utf_16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    return bool(_ROOT.match(head.decode("utf-16" if is_utf_16 else "utf-8", "replace")))


def read_feed(archive: Archive, name: str, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield complete entries; `include` may contain `drafts` (for Blogger's export)."""
    body = archive.read(name)
    feedparser: Any = import_module("feedparser")
    try:
        parsed_feed: Any = feedparser.parse(
            io.BytesIO(body), sanitize_html=False, resolve_relative_uris=False
        )
    # KeyError for a closing tag without an opening tag, ValueError for a space in a namespace
    except (KeyError, ValueError) as error:
        raise MemberError(name, "torn") from error
    # A wrong encoding declaration also sets `bozo`, but such a feed is not damaged.
    is_damaged = parsed_feed.bozo and not isinstance(
        parsed_feed.bozo_exception, feedparser.CharacterEncodingOverride
    )
    if is_damaged:
        yield SkippedItem(name, "malformed_row" if _FEED_END.search(body) else "torn")
    if _WORDPRESS_EXPORT.search(body) or (is_damaged and _BLOGGER_EXPORT.search(body)):
        if not is_damaged:
            yield SkippedItem(name, "not_a_post")
        return
    for number, entry in enumerate(parsed_feed.entries):
        yield _build_record(entry, parsed_feed.feed, include, location=f"{name}#{number}")


def _build_record(
    entry: Any, channel: Any, include: frozenset[str], *, location: str
) -> ExportItem:
    link = str(entry.get("link") or "")
    name = str(entry.get("id") or link)
    title = strip_tags(str(entry.get("title") or ""))
    content, markup, is_full_text = _read_content(entry)
    if (not name and not title and not content) or MERGED_ITEM.search(content):
        return SkippedItem(location, "malformed_row")
    source_id = _build_source_id(
        name, channel, title=title, published=str(entry.get("published") or "")
    )
    reason = _find_blogger_skip_reason(entry)
    is_draft = reason == "draft"
    if reason and not (is_draft and "drafts" in include):
        return SkippedItem(source_id, reason)
    words = strip_tags(content) if markup == "html" else " ".join(content.split())
    if not words:
        return SkippedItem(source_id, "no_text")
    if _is_cut_off(words, content, title=title, is_full_text=is_full_text):
        return SkippedItem(source_id, "truncated")
    author, channel_author = _read_person_name(entry), _read_person_name(channel)
    return ExportRecord(
        source=NAME,
        source_id=source_id,
        text=content,
        kind="draft" if is_draft else "post",
        title=title,
        url=link,
        author=author or channel_author,
        byline="entry" if author else "channel",
        markup=markup,
        language=_read_language(entry)
        or str(channel.get("language") or "")
        or _read_language(channel),
        created_at=_parse_date(entry, "published") or _parse_date(entry, "updated"),
        updated_at=_parse_date(entry, "updated"),
        licence=str(entry.get("license") or channel.get("license") or ""),
        tags=tuple(
            str(tag.get("term") or "")
            for tag in entry.get("tags", ())
            if "schemas.google.com" not in str(tag.get("scheme"))
        ),
    )


def _read_content(entry: Any) -> tuple[str, str, bool]:
    """Return the entry's text, its markup, and whether it is content rather than a summary."""
    contents = [
        content for content in entry.get("content", ()) if str(content.get("value")).strip()
    ]
    # Some feeds list both a teaser and the full text as content.
    longest_content: Any = max(contents, key=lambda content: len(content["value"]), default=None)
    is_full_text = longest_content is not None
    if longest_content is None:
        longest_content = entry.get("summary_detail") or {}
    value = str(longest_content.get("value") or "").strip()
    if str(longest_content.get("type")) == "text/plain":
        return value, "text", is_full_text
    if not _HTML.search(value):
        return html.unescape(value), "text", is_full_text
    return remove_foreign_parts(_APPEARED_ON_NOTE.sub("", value)), "html", is_full_text


def _is_cut_off(words: str, content: str, *, title: str, is_full_text: bool) -> bool:
    """Return whether an entry contains only the beginning or a summary of a post."""
    if _CUT_OFF.search(html.unescape(content[-400:])):
        return True
    if is_full_text:
        return False
    is_blurb = bool(title) and not _HTML.search(content) and len(words.split()) <= _MAX_BLURB_WORDS
    return is_blurb or bool(_ELLIPSIS.search(words[-20:]))


def _find_blogger_skip_reason(entry: Any) -> str:
    """Return why an entry in Blogger's export is not a post, or "" if it is one."""
    kinds = [str(tag.get("term")) for tag in entry.get("tags", ())]
    kinds = [kind.rpartition("#")[2] for kind in kinds if "/2008/kind#" in kind]
    kind = str(entry.get("blogger_type") or next(iter(kinds), "post")).lower()
    if kind != "post":
        return kind if kind in {"comment", "page"} else "not_a_post"
    status = str(entry.get("blogger_status") or "").upper()
    if entry.get("app_draft") == "yes" or status == "DRAFT":
        return "draft"
    return "trash" if status in {"SOFT_TRASHED", "DELETED"} else ""


def _build_source_id(name: str, channel: Any, *, title: str, published: str) -> str:
    if not name:
        digest = hashlib.sha256(f"{title}\0{published}".encode("utf-8", "replace")).hexdigest()
        name = f"untitled-{digest[:16]}" if not title else digest[:16]
    if re.match(r"\w+://|tag:|urn:", name):
        return re.sub(r"\Ahttps?://", "", name)
    host = re.sub(r"\A\w+://", "", str(channel.get("link") or "")).strip("/")
    return f"{host}/{name}" if host else name


def _read_person_name(element: Any) -> str:
    """Return a person's name, or "" for an e-mail address (as in RSS's `<author>`)."""
    detail: Any = element.get("author_detail") or {}
    name = str(detail.get("name") or ("" if detail.get("email") else element.get("author") or ""))
    return "" if "@" in name else " ".join(name.split())


def _read_language(element: Any) -> str:
    """Return the `xml:lang` that applies to the title."""
    detail: Any = element.get("title_detail") or {}
    return str(detail.get("language") or "")


def _parse_date(entry: Any, name: str) -> datetime | None:
    """Return feedparser's time, in the zone that the entry states."""
    date_fields, stated_time = entry.get(f"{name}_parsed"), parse_local_datetime(entry.get(name))
    try:
        time = datetime(*date_fields[:6], tzinfo=UTC) if date_fields else None
    except (ValueError, TypeError, OverflowError):
        return None
    return stated_time if time and stated_time == time else time


_BLOGGER = RejectedExport(
    ((r"Blogger/Blogs/.*/feed\.atom",),),
    r"\A\s*<.{0,4000}(?:>Blogger</generator|schemas\.google\.com/blogger)",
    title="Blogger export",
    next_step=CONVERT_ADVICE,
    is_ignored_beside_posts=True,
)
_MALFORMED_FEED = RejectedExport(
    content=r"\A\W*(?:<\?xml[^>]*>)?(?:\s*<[?!][^>]*>)*\s*<(?:rss|feed|rdf:RDF)[\s>]",
    is_ignored_beside_posts=True,
)
# A missing entry is not necessarily deleted: a feed lists only its latest entries.
IMPORTER = Importer(
    NAME, "RSS or Atom feed", list_feeds, read_feed, (_BLOGGER, _MALFORMED_FEED), latest_only=True
)
