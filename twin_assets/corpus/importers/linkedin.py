"""Import LinkedIn's data export: posts (`Shares.csv`, `Shares_<id>.csv`) and `Articles/`.

Scope: turning shares and articles into records.
Out of scope: parsing the CSV (`linkedin_shares`). Messages, connections, comments and other
people's texts are never read.

Format: https://www.linkedin.com/help/linkedin/answer/a1339364. Columns are found by name. A post's
URN contains its identifier, and the identifier contains its time. `id >> 22` is the UTC time in
milliseconds, which is more precise than the column `Date`.

LinkedIn does not document a post's visibility. In five exports that their owners published (945
rows), the column `Visibility` is `MEMBER_NETWORK` in every row, including the 68 group posts. An
empty cell therefore does not mean public, and a group post counts as visible only to the group's
members.
"""
# pyright: strict

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from twin_assets.corpus.importers.foreign_html import remove_foreign_parts, serialize_inner_html
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.importer import Importer, RejectedExport, read_files
from twin_assets.corpus.importers.linkedin_shares import decode_csv, iter_share_rows, read_columns
from twin_assets.corpus.importers.members import Archive, MemberError
from twin_assets.corpus.importers.post_head import decode
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem

NAME = "linkedin"

_SHARES = r"Shares(?:_\d+)?\.csv"
_ARTICLES = r"Articles/.*\.html?"
_SHARES_HEAD = re.compile(rb"\A\W*Date,ShareLink,[^\n]*ShareCommentary", re.IGNORECASE)
_ARTICLE_HEAD = re.compile(rb"linkedin\.com/pulse/|<p class=\"(?:created|published)\"")
_URN = re.compile(r"urn:li:(share|ugcPost|activity|groupPost):(?:\d+-)?(\d+)")
_HASHTAG = re.compile(r"\{hashtag\|\\?#\|([^}|]+)\}")
_TAG = re.compile(r"(?<![\w&/])#(\w+)")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?")
# https://www.unicode.org/charts/PDF/U1D400.pdf, and the older letters outside that block.
_STYLED_LETTERS = re.compile("[\U0001d400-\U0001d7ff\u210a-\u2113\u211b-\u211d\u212c-\u2134]+")
_MAX_SHARES_BYTES = 128 << 20
_VISIBILITY = {
    "PUBLIC": "public",
    "MEMBER_NETWORK": "public",  # the export's value for every ordinary post
    "LOGGED_IN": "public",
    "CONNECTIONS": "followers",
    "CONNECTIONS_ONLY": "followers",
}


# The end of another row within a commentary: damage hid the row's own end and visibility.
_MERGED_ROW = re.compile(rf"\0|,(?:{'|'.join(_VISIBILITY)})\r?\n")


def recognizes(archive: Archive) -> bool:
    """Return whether there is a `Shares.csv` with LinkedIn's columns or a LinkedIn article."""
    if any(_SHARES_HEAD.search(archive.head(name)) for name in archive.candidates(_SHARES)):
        return True
    articles = archive.names_matching(_ARTICLES)[:3]
    return any(_ARTICLE_HEAD.search(archive.head(name)) for name in articles)


def read(archive: Archive, *, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield every share and every article."""
    author = _read_owner_name(archive)

    def read_shares(name: str) -> Iterator[ExportItem]:
        text = decode_csv(archive.read(name, max_bytes=_MAX_SHARES_BYTES))
        if not read_columns(text):
            # No row can be read without the header, so missing posts do not count as deleted.
            raise MemberError(name, "torn")
        rows = enumerate(iter_share_rows(text), start=1)
        shares = [
            _build_share_record(row, f"{name}:{number}", author=author, include=include)
            for number, row in rows
        ]
        if shares and all(
            isinstance(share, SkippedItem) and share.reason == "malformed_row" for share in shares
        ):
            # No row has the columns that the header names, so the header is damaged.
            yield SkippedItem(name, "torn")
        yield from _resolve_visibility(shares)

    def read_article(name: str) -> Iterator[ExportItem]:
        page = decode(archive.read(name), markup="html")
        yield _build_article_record(page, name, author=author, include=include)

    yield from read_files(archive.candidates(_SHARES), read_shares)
    yield from read_files(archive.names_matching(_ARTICLES), read_article)


def _resolve_visibility(shares: list[ExportItem]) -> Iterator[ExportItem]:
    """Yield the shares of one file; a post whose rows disagree about visibility becomes private.

    Damage that repeats part of the file may join one post's beginning with another post's end.
    """
    visibility_by_id: dict[str, str] = {}
    for share in shares:
        if isinstance(share, ExportRecord):
            first_visibility = visibility_by_id.setdefault(share.source_id, share.visibility)
            visibility_by_id[share.source_id] = (
                first_visibility if first_visibility == share.visibility else "private"
            )
    for share in shares:
        yield (
            replace(share, visibility=visibility_by_id[share.source_id])
            if isinstance(share, ExportRecord)
            else share
        )


def _build_share_record(
    row: dict[str, str] | None, location: str, *, author: str, include: frozenset[str]
) -> ExportItem:
    if row is None:
        return SkippedItem(location, "malformed_row")
    link = unquote(row.get("ShareLink", ""))
    urn = _URN.search(link)
    column_time = _parse_time(row.get("Date", ""))
    if urn is None or (column_time is None and _decode_identifier_time(urn[2]) is None):
        return SkippedItem(location, "malformed_row")
    source_id = f"{urn[1]}:{urn[2]}"
    if _MERGED_ROW.search(row["ShareCommentary"]):
        return SkippedItem(source_id, "malformed_row")
    text = _normalize_styled_letters(_HASHTAG.sub(r"#\1", row["ShareCommentary"]))
    if not text:
        return SkippedItem(source_id, "no_text" if row.get("MediaUrl") else "bare_reshare")
    # An empty cell, an unknown word or a missing column does not mean public.
    visibility = _VISIBILITY.get(row.get("Visibility", "").strip().upper())
    if visibility is None and "private" not in include:
        return SkippedItem(source_id, "unknown_visibility")
    if urn[1] == "groupPost" and visibility == "public":
        visibility = "followers"  # only the group's members can read it
    return ExportRecord(
        source=NAME,
        source_id=source_id,
        url=f"https://www.linkedin.com/feed/update/urn:li:{source_id}",
        author=author,
        byline="Profile.csv" if author else "",
        kind="post",
        text=text,
        markup="text",
        created_at=_decode_identifier_time(urn[2]) or column_time,
        visibility=visibility or "private",
        tags=tuple(dict.fromkeys(_TAG.findall(text))),
    )


def _build_article_record(
    page: str, name: str, *, author: str, include: frozenset[str]
) -> ExportItem:
    tree = parse_html(page)
    root = None if tree is None else tree.find("body")
    if root is None:
        return SkippedItem(name, "not_a_post")
    heading = root.find(".//h1")
    title = " ".join(str(heading.text_content()).split()) if heading is not None else ""
    link = heading.find(".//a") if heading is not None else None
    url = str(link.get("href") or "").partition("?")[0] if link is not None else ""
    times = {name: _pop_date(root, name) for name in ("created", "published")}
    if heading is not None:
        heading.drop_tree()
    if times["published"] is None and "drafts" not in include:
        return SkippedItem(name, "draft")
    text = remove_foreign_parts(serialize_inner_html(tree))
    slug = url.rstrip("/").rpartition("/pulse/")[2] or name.rpartition("/")[2].rpartition(".")[0]
    if not str(root.text_content()).strip():
        return SkippedItem(name, "no_text")
    return ExportRecord(
        source=NAME,
        source_id=f"article:{slug}",
        url=url,
        author=author,
        byline="Profile.csv" if author else "",
        kind="article" if times["published"] else "draft",
        title=title,
        text=text,
        markup="html",
        created_at=times["published"] or times["created"],
        visibility="public" if times["published"] else "private",
    )


def _normalize_styled_letters(text: str) -> str:
    """Replace mathematical letters, LinkedIn's only bold type, with plain letters.

    A tokenizer splits each of them into four bytes that occur in no word. Other characters stay,
    because NFKC of the whole text would turn `½` into three characters.
    """
    return _STYLED_LETTERS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)


def _pop_date(root: Any, css_class: str) -> datetime | None:
    """Remove `<p class="published">Published on 2019-05-08 15:10</p>` and return its time."""
    for element in root.iter("p"):
        if str(element.get("class") or "") == css_class:
            time = _parse_time(str(element.text_content()))
            element.drop_tree()
            return time
    return None


def _read_owner_name(archive: Archive) -> str:
    """Return the first and last name from the owner's `Profile.csv`, or "" without them."""
    for name in archive.names_matching(r"Profile\.csv"):
        try:
            rows = csv.DictReader(io.StringIO(decode_csv(archive.read(name, max_bytes=1 << 20))))
            row = next(rows, dict[str, str]())
        except (MemberError, csv.Error):
            return ""  # the byline is lost, but the posts are still read
        names = (row.get("First Name"), row.get("Last Name"))
        return " ".join(name_part.strip() for name_part in names if name_part and name_part.strip())
    return ""


def _decode_identifier_time(identifier: str) -> datetime | None:
    """Return the time in a post's identifier, or None for a short identifier from before 2012."""
    milliseconds = int(identifier[:20]) >> 22
    if not 1_325_376_000_000 <= milliseconds < 4_102_444_800_000:  # 2012 to 2100
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _parse_time(text: str) -> datetime | None:
    match = _TIMESTAMP.search(text)
    try:
        return datetime.fromisoformat(match[0]).replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


_PARTIAL_EXPORT = RejectedExport(
    ((r"Shares\.csv",), (r"Articles/Articles/.*\.html",), (r"Connections\.csv", r"Profile\.csv")),
    r"\A\W*Date,ShareLink,ShareCommentary|<a href=\"https://www\.linkedin\.com/pulse/",
)
IMPORTER = Importer(NAME, "LinkedIn data export", recognizes, read, (_PARTIAL_EXPORT,))
