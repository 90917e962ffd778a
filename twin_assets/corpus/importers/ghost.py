"""Import the published posts of Ghost's JSON export, which contains its database tables.

Scope: posts, their authors' names, their tags, their visibility.
Out of scope: the editors' documents, because Ghost stores each post's HTML beside them whenever the
post is saved. Members, sessions and settings are also in the file but are never read.

Format: https://docs.ghost.org/migration/custom (a list `db` with one `{meta, data}`, or only that
object).
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from twin_assets.corpus.importers import json_rows
from twin_assets.corpus.importers.foreign_html import remove_foreign_parts, strip_tags
from twin_assets.corpus.importers.front_matter import parse_datetime
from twin_assets.corpus.importers.importer import Importer, RejectedExport, read_files
from twin_assets.corpus.importers.json_rows import get_member, get_objects, get_string
from twin_assets.corpus.importers.members import Archive
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem

NAME = "ghost"

_EXPORT_START = re.compile(
    rb'\A\W*\{\s*"(?:db"\s*:\s*\[\s*\{\s*"(?:meta|data)"|meta"\s*:\s*\{|data"\s*:\s*\{\s*"posts")'
)
_EXPORT_DATE = re.compile(rb'"exported_on"\s*:\s*"?\d|"data"\s*:\s*\{')
_VISIBILITIES = {"public": "public", "": "public", "members": "followers", "paid": "paid"}
_DRAFT_STATUSES = frozenset({"draft", "scheduled"})
_GATED_START = re.compile(r"<!--\s*kg-gated-block:begin\b([^>]*)-->")
_GATED_END = "<!--kg-gated-block:end-->"
_MEMBERS_ONLY = re.compile(r"<!--\s*members-only\s*-->")


NamesByPost = dict[str, list[str]]


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield published posts; `include` may add `drafts`, `followers` (members) and `paid`."""

    def read_posts(name: str) -> Iterator[ExportItem]:
        document = json_rows.load_document(archive, name)
        database = next(iter(get_objects(document, "db")), document)
        tables = get_member(database, "data")
        # The e-mail addresses in `users` are not read.
        authors = _read_names(tables, "users", "posts_authors", "author_id")
        tags = _read_names(tables, "tags", "posts_tags", "tag_id")
        return json_rows.map_rows(
            name,
            get_member(tables, "posts"),
            lambda row, location: _build_post_record(
                row, authors, tags, include, location=location
            ),
        )

    return read_files(_list_exports(archive), read_posts)


def _list_exports(archive: Archive) -> list[str]:
    """Return the files that begin like a Ghost export."""
    names = archive.candidates(r"[^/]+\.json")[:200]
    return [
        name
        for name in names
        if _EXPORT_START.match(head := archive.head(name)) and _EXPORT_DATE.search(head)
    ]


def _read_names(tables: object, table: str, join_table: str, key: str) -> NamesByPost:
    """Return the names in a table by post (from `join_table`), and all of them under `*`."""
    names = {get_string(row, "id"): get_string(row, "name") for row in get_objects(tables, table)}
    names_by_post: NamesByPost = defaultdict(list)
    names_by_post["*"] = [name for name in names.values() if name]
    for row in get_objects(tables, join_table):
        if name := names.get(get_string(row, key)):
            names_by_post[get_string(row, "post_id")].append(name)
    return names_by_post


def _build_post_record(
    row: dict[str, Any],
    authors: NamesByPost,
    tags: NamesByPost,
    include: frozenset[str],
    *,
    location: str,
) -> ExportItem:
    post_id = get_string(row, "id")
    source_id = get_string(row, "uuid") or post_id
    if not source_id or "title" not in row:
        return SkippedItem(source_id or location, json_rows.MALFORMED)
    if get_string(row, "type") == "page" or get_member(row, "page") in (1, True):
        return SkippedItem(source_id, "page")
    status = get_string(row, "status")
    is_draft = status in _DRAFT_STATUSES or status not in {"published", "sent"}
    # Other values of `visibility` are tiers or filters.
    visibility = _VISIBILITIES.get(get_string(row, "visibility"), "paid")
    if status == "sent" and visibility == "public":
        visibility = "followers"  # sent by mail but not published on a page
    if is_draft and "drafts" not in include:
        return SkippedItem(source_id, "draft")
    if visibility != "public" and visibility not in include:
        return SkippedItem(source_id, visibility)
    text, markup = _read_post_body(row)
    if not strip_tags(text):
        return SkippedItem(source_id, "no_text")
    names = authors.get(post_id) or (authors["*"] if len(authors["*"]) == 1 else [])
    canonical_url = get_string(row, "canonical_url")
    return ExportRecord(
        source=NAME,
        source_id=source_id,
        text=text,
        kind="draft" if is_draft else "post",
        title=strip_tags(get_string(row, "title")),
        url=canonical_url if canonical_url.startswith(("http://", "https://")) else "",
        author=", ".join(dict.fromkeys(names)),
        byline=("posts_authors" if authors.get(post_id) else "users") if names else "",
        markup=markup,
        language=get_string(row, "locale"),
        created_at=_parse_time(row, "published_at") or _parse_time(row, "created_at"),
        updated_at=_parse_time(row, "updated_at"),
        visibility="private" if is_draft else visibility,
        # Names that begin with `#` are internal tags.
        tags=tuple(dict.fromkeys(tag for tag in tags.get(post_id, ()) if tag[0] != "#")),
    )


def _read_post_body(row: dict[str, Any]) -> tuple[str, str]:
    """Return the body and its markup: the page's HTML or, if missing, the plain text."""
    if page := get_string(row, "html"):
        return remove_foreign_parts(remove_gated_parts(page)), "html"
    if markdown := get_string(row, "markdown"):  # Ghost before 1.0
        return markdown, "markdown"
    return get_string(row, "plaintext"), "text"


def remove_gated_parts(page: str) -> str:
    """Return a page's HTML as shown without an account: no gated blocks or text below the paywall.

    Ghost's renderer marks both with comments.
    """
    paywall = _MEMBERS_ONLY.search(page)
    page = page[: paywall.start()] if paywall else page
    parts: list[str] = []
    position = 0
    for gated_start in _GATED_START.finditer(page):
        if gated_start.start() < position or "nonMember:true" in gated_start[1]:
            continue
        parts.append(page[position : gated_start.start()])
        end = page.find(_GATED_END, gated_start.end())
        position = len(page) if end < 0 else end + len(_GATED_END)
    return "".join([*parts, page[position:]])


def _parse_time(row: dict[str, Any], name: str) -> datetime | None:
    """Return a field's time, from ISO 8601 or milliseconds since 1970 (Ghost before 1.0)."""
    value = get_member(row, name)
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            return None
    return parse_datetime(value) if isinstance(value, str) else None


_PARTIAL_EXPORT = RejectedExport(
    ((r".*\.ghost\.\d{4}-.*\.json",),),
    r"\A\s*\{\s*\"(?:db\"\s*:\s*\[\s*\{\s*\"meta|meta\"\s*:\s*\{\s*\"exported_on)",
)
IMPORTER = Importer(NAME, "Ghost export", _list_exports, read, (_PARTIAL_EXPORT,))
