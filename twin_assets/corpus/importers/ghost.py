"""Import the published posts of Ghost's JSON export, which holds the tables of its database.

Scope: posts, their authors' names and tags, who may read them.
Out of scope: the editors' documents (`ghost_editor`). Members, sessions and settings, which the
file also holds, are never read.

Format: https://docs.ghost.org/migration/custom (a list `db` of one `{meta, data}`, or that alone).
"""
# pyright: strict

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from twin_assets.corpus.importers import json_rows
from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.foreign_html import plain_words, without_foreign_parts
from twin_assets.corpus.importers.front_matter import moment
from twin_assets.corpus.importers.ghost_editor import (
    BrokenDocumentError,
    lexical_as_html,
    mobiledoc_as_html,
    without_gated_parts,
)
from twin_assets.corpus.importers.importer import Importer, RefusedExport
from twin_assets.corpus.importers.json_rows import member, objects, string
from twin_assets.corpus.importers.record import ExportRecord, Skipped

NAME = "ghost"

_MARK = re.compile(
    rb'\A\W*\{\s*"(?:db"\s*:\s*\[\s*\{\s*"(?:meta|data)"|meta"\s*:\s*\{|data"\s*:\s*\{\s*"posts")'
)
_DATED = re.compile(rb'"exported_on"\s*:\s*"?\d|"data"\s*:\s*\{')
_VISIBILITIES = {"public": "public", "": "public", "members": "followers", "paid": "paid"}
_DRAFTS = frozenset({"draft", "scheduled"})


@dataclass
class _People:
    """Names of authors and tags by post."""

    authors: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    tags: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def recognises(archive: Archive) -> bool:
    """Return whether a member begins like Ghost's export."""
    return bool(_exports(archive))


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportRecord | Skipped]:
    """Yield published posts; `include` may hold `drafts`, `followers` (members only) and `paid`."""
    seen: set[str] = set()
    for name in _exports(archive):
        try:
            document = json_rows.document(archive, name)
            database = next(iter(objects(document, "db")), document)
            tables: Any = member(database, "data")
            rows = [*json_rows.rows(name, member(tables, "posts"))]
        except MemberError as error:
            yield Skipped(name, error.reason)
            continue
        people = _people(tables)
        for number, row in enumerate(rows):
            where = f"{name}#{number}"
            outcome = (
                Skipped(where, row)
                if isinstance(row, str)
                else _outcome(row, people, include, where=where)
            )
            if isinstance(outcome, ExportRecord) and outcome.source_id in seen:
                outcome = Skipped(outcome.source_id, "duplicate")
            seen.add(outcome.source_id if isinstance(outcome, ExportRecord) else outcome.where)
            yield outcome


def _exports(archive: Archive) -> list[str]:
    names = archive.candidates(r"[^/]+\.json")[:200]
    return [
        name for name in names if _MARK.match(head := archive.head(name)) and _DATED.search(head)
    ]


def _people(tables: dict[str, Any]) -> _People:
    """Return the names of authors and tags; the addresses in `users` are not read."""
    people = _People()
    users = {string(row, "id"): string(row, "name") for row in objects(tables, "users")}
    for row in objects(tables, "posts_authors"):
        if name := users.get(string(row, "author_id")):
            people.authors[string(row, "post_id")].append(name)
    # `#name` is a tag for the site's own use.
    tags = {string(row, "id"): string(row, "name") for row in objects(tables, "tags")}
    for row in objects(tables, "posts_tags"):
        name = tags.get(string(row, "tag_id"), "")
        if name and not name.startswith("#"):
            people.tags[string(row, "post_id")].append(name)
    people.authors["users"] = [name for name in users.values() if name]
    return people


def _outcome(
    row: dict[str, Any], people: _People, include: frozenset[str], *, where: str
) -> ExportRecord | Skipped:
    number = string(row, "id")
    source_id = string(row, "uuid") or number
    if not source_id or "title" not in row:
        return Skipped(source_id or where, json_rows.MALFORMED)
    if string(row, "type") == "page" or member(row, "page") in (1, True):
        return Skipped(source_id, "page")
    status = string(row, "status")
    draft = status in _DRAFTS or status not in {"published", "sent"}
    visibility = _VISIBILITIES.get(string(row, "visibility"), "paid")  # else a tier or filter
    if status == "sent" and visibility == "public":
        visibility = "followers"  # sent by mail and not published on a page
    if draft and "drafts" not in include:
        return Skipped(source_id, "draft")
    if visibility != "public" and visibility not in include:
        return Skipped(source_id, visibility)
    try:
        text, markup = _text(row)
    except BrokenDocumentError:
        return Skipped(source_id, json_rows.MALFORMED)
    if not plain_words(text):
        return Skipped(source_id, "no_text")
    names = people.authors.get(number) or (
        people.authors["users"] if len(people.authors["users"]) == 1 else []
    )
    canonical = string(row, "canonical_url")
    return ExportRecord(
        source=NAME,
        source_id=source_id,
        text=text,
        kind="draft" if draft else "post",
        title=plain_words(string(row, "title")),
        url=canonical if canonical.startswith(("http://", "https://")) else "",
        author=", ".join(dict.fromkeys(names)),
        byline="posts_authors" if people.authors.get(number) else "users" if names else "",
        markup=markup,
        language=string(row, "locale"),
        created_at=_moment(row, "published_at") or _moment(row, "created_at"),
        updated_at=_moment(row, "updated_at"),
        visibility="private" if draft else visibility,
        tags=tuple(dict.fromkeys(people.tags.get(number, ()))),
    )


def _text(row: dict[str, Any]) -> tuple[str, str]:
    """Return the body and its markup: the page's HTML, else the editor's document, else plain text.

    Raises:
        BrokenDocumentError: there is only an editor's document, and it does not parse.
    """
    if page := string(row, "html"):
        return without_foreign_parts(without_gated_parts(page)), "html"
    for name, as_html in (("lexical", lexical_as_html), ("mobiledoc", mobiledoc_as_html)):
        if document := string(row, name):
            return without_foreign_parts(as_html(document)), "html"
    if markdown := string(row, "markdown"):  # Ghost before 1.0
        return markdown, "markdown"
    return string(row, "plaintext"), "text"


def _moment(row: dict[str, Any], name: str) -> datetime | None:
    """Return a field's time: ISO 8601, or milliseconds since 1970 (Ghost before 1.0)."""
    value = member(row, name)
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            return None
    return moment(value) if isinstance(value, str) else None


_IN_PART = RefusedExport(
    ((r".*\.ghost\.\d{4}-.*\.json",),),
    r"\A\s*\{\s*\"(?:db\"\s*:\s*\[\s*\{\s*\"meta|meta\"\s*:\s*\{\s*\"exported_on)",
)
IMPORTER = Importer(NAME, "Ghost export", recognises, read, (_IN_PART,))
