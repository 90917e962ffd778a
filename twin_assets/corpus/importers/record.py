"""An importer's results: a record of the author's own text, or a skipped item with a reason."""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class ExportRecord:
    """One text by the author, as exported.

    Attributes:
        source: the importer's name (`linkedin`).
        source_id: stable and unique within the source, across exports and edits.
        text: the body in `markup`, without other people's text (quotes, comments, addresses).
        kind: as in `corpus_tables.RawPosts`; `draft` only if drafts are requested.
        title: title, or "" if the source has none.
        url: canonical address, or "" if unknown.
        author: byline in the export, or "".
        byline: the source of the author's name ("Profile.csv", "dc:creator").
        markup: as in `RawPosts`.
        language: BCP 47 tag in the export, or "".
        created_at, updated_at: times in the zone that the export states, or in UTC; None if
            unknown. They are stored in UTC.
        local_time: `created_at` as the platform shows it, without a zone; None for the time in the
            zone of `created_at`. A post is cited by this day.
        visibility: the visibility at the source, with the values of `RawPosts`.
        licence: the source's name for the licence (an SPDX identifier or an address), or "".
        parent_id: `source_id` of the author's text that this text replies to or continues, or "".
        tags: tags in the order of the source.
    """

    source: str
    source_id: str
    text: str = ""
    kind: str = "post"
    title: str = ""
    url: str = ""
    author: str = ""
    byline: str = ""
    markup: str = "text"
    language: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    local_time: datetime | None = None
    visibility: str = "public"
    licence: str = ""
    parent_id: str = ""
    tags: tuple[str, ...] = ()

    @property
    def row_id(self) -> str:
        """The record's key in `raw_posts`."""
        return f"{self.source}/{self.source_id}"

    def to_storable(self) -> ExportRecord:
        """Return the record as it is stored, whatever its importer read.

        Times but the local one are in UTC, a draft is private, white space of the title and
        repeated tags are gone, an address is one of the web, and only a name has a byline. Lone
        surrogates (`\\ud83d` in a JSON file) and NUL characters, which UTF-8 or a table cannot
        hold, become U+FFFD.
        """
        fields: dict[str, Any] = dict(vars(self))
        shown_time = self.local_time or self.created_at
        fields["local_time"] = shown_time and shown_time.replace(tzinfo=None)
        for name, value in fields.items():
            if isinstance(value, str):
                fields[name] = _make_encodable(value)
            elif isinstance(value, datetime) and value.tzinfo:
                fields[name] = value.astimezone(UTC)
        fields["title"] = " ".join(fields["title"].split())
        fields["url"] = fields["url"] if re.match(r"https?://", fields["url"]) else ""
        fields["byline"] = fields["byline"] if fields["author"] else ""
        fields["visibility"] = "private" if self.kind == "draft" else self.visibility
        fields["tags"] = tuple(dict.fromkeys(_make_encodable(tag) for tag in self.tags if tag))
        return ExportRecord(**fields)

    def as_json(self) -> str:
        """Return all fields as canonical JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, default=datetime.isoformat)

    def digest(self) -> str:
        """Return the SHA-256 of all fields, which changes when the record is edited."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()


@dataclass(frozen=True)
class SkippedItem:
    """A part of an export that does not become a record, and the reason.

    Attributes:
        location: identifier of the part, or its member (and line); never its text.
        reason: a snake_case word: `bare_reshare`, `boost`, `draft`, `private`, `followers`, `paid`,
            `unknown_visibility`, `reply`, `not_a_post`, `no_text`, `malformed_row`, or the
            reason of a `members.MemberError`.
    """

    location: str
    reason: str


ExportItem = ExportRecord | SkippedItem
"""An item of an export, as an importer yields it."""


def find_exclusion_reason(record: ExportRecord, include: frozenset[str]) -> str:
    """Return the reason for excluding a record, or "" if it is included.

    Importers may call this function early; `exports` calls it for every record.
    """
    if record.kind == "draft" and "drafts" not in include:
        return "draft"
    if record.kind == "reply" and "replies" not in include:
        return "reply"
    if record.visibility in {"private", "followers", "paid"} and record.kind != "draft":
        return "" if record.visibility in include else record.visibility
    return ""


def _make_encodable(text: str) -> str:
    return (
        text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
