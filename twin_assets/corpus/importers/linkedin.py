"""LinkedIn's data export: posts (`Shares.csv`, `Shares_<id>.csv`) and `Articles/`.

Messages, connections, comments and other people's texts are never read.
Format: https://www.linkedin.com/help/linkedin/answer/a1339364. Columns are found by name. A post's
URN contains its identifier, and the identifier contains its time. `id >> 22` is the UTC time in
milliseconds, which is more precise than the column `Date`.

LinkedIn does not document a post's visibility. In five exports that their owners published (945
rows), the column `Visibility` is `MEMBER_NETWORK` in every row, including the 68 group posts. An
empty cell therefore does not mean public, and a group post counts as visible only to the group's
members.

Published exports and parsers show these deviations. The commentary's line breaks are outside
its quotes (`"First."`, newline, `""`, newline, `"Third."`), as separate rows or escaped within one
field. Inner quotes may or may not be doubled. Some UTF-8 text was decoded as Windows-1252 and
encoded again.

The parser therefore finds a row by its beginning (time and address). It takes the last columns from
the row's end, and the text in between is the commentary.
"""
# pyright: strict

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from urllib.parse import unquote

from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.foreign_html import find_text, serialize_inner_html
from twin_assets.corpus.importers.front_matter import parse_local_datetime
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.importers.importer import ExportFiles, Importer, RejectedExport, add_text
from twin_assets.corpus.importers.post_head import decode
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem

NAME = "linkedin"

_SHARES = ExportFiles(r"Shares(?:_\d+)?\.csv", rb"\A\W*Date,ShareLink,[^\n]*ShareCommentary")
_ARTICLES = ExportFiles(
    r"Articles/.*\.html?",
    rb"linkedin\.com/pulse/|<p class=\"(?:created|published)\"",
    max_heads=3,
)
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

_TIME = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?: UTC)?"
_LINK = r'"?https?://[\w.]*linkedin\.com/'
# A time and an address also start a row within a line, where the line end before them is damaged.
_ROW_START = re.compile(rf'^(?:"?{_TIME}"?,|"?[^,"\n]{{0,40}}"?,{_LINK})|{_TIME},{_LINK}', re.M)
# A word or an address, which has a comma only within quotes.
_LAST_COLUMN = r',("(?:[A-Za-z_]*|https?://[^\s"]*)"|[A-Za-z_]*|https?://[^\s,"]*)'


def find_files(archive: Archive) -> list[str]:
    """Return all lists of shares and all articles, if one of either is LinkedIn's."""
    has_articles = archive.kind != "file" and _ARTICLES.find(archive)
    if not has_articles and not _SHARES.find(archive):
        return []
    return [*archive.candidates(_SHARES.names), *archive.names_matching(_ARTICLES.names)]


def read_file(archive: Archive, name: str, include: frozenset[str]) -> Iterator[ExportItem]:
    """Yield the shares of a list, or an article."""
    author = _read_owner_name(archive)
    if name in archive.names_matching(_ARTICLES.names):
        yield _build_article(decode(archive.read(name), markup="html"), name, author, include)
        return
    text = decode_csv(archive.read(name, max_bytes=_MAX_SHARES_BYTES))
    if not read_columns(text):
        # No row can be read without the header, so missing posts do not count as deleted.
        raise MemberError(name, "torn")
    for number, row in enumerate(iter_share_rows(text), start=1):
        yield _build_share(row, f"{name}:{number}", author, include)


def _build_share(
    row: dict[str, str] | None, location: str, author: str, include: frozenset[str]
) -> ExportItem:
    urn = _URN.search(unquote(row.get("ShareLink", ""))) if row else None
    if row is None or urn is None:
        return SkippedItem(location, "malformed_row")
    created_at = _decode_identifier_time(urn[2]) or _find_time(row.get("Date", ""))
    source_id = f"{urn[1]}:{urn[2]}"
    if created_at is None:
        return SkippedItem(location, "malformed_row")
    # A tokenizer splits LinkedIn's only bold type, mathematical letters, into bytes that occur in
    # no word. Other characters stay, because NFKC would turn `½` into three.
    text = _STYLED_LETTERS.sub(
        lambda match: unicodedata.normalize("NFKC", match[0]),
        _HASHTAG.sub(r"#\1", row["ShareCommentary"]),
    )
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
        byline="Profile.csv",
        text=text,
        created_at=created_at,
        visibility=visibility or "private",
        tags=tuple(dict.fromkeys(_TAG.findall(text))),
    )


def _build_article(page: str, name: str, author: str, include: frozenset[str]) -> ExportItem:
    tree = parse_html(page)
    if tree is None or tree.find("body") is None:
        return SkippedItem(name, "not_a_post")
    heading = tree.find(".//h1")
    link = heading.find(".//a") if heading is not None else None
    url = str(link.get("href") or "").partition("?")[0] if link is not None else ""
    # `<p class="published">Published on 2019-05-08 15:10</p>`
    (created, created_text), (published, published_text) = (
        find_text(tree, css_class) for css_class in ("created", "published")
    )
    published_at = _find_time(published_text)
    slug = url.rstrip("/").rpartition("/pulse/")[2] or name.rpartition("/")[2].rpartition(".")[0]
    record = ExportRecord(
        source=NAME,
        source_id=f"article:{slug}",
        url=url,
        author=author,
        byline="Profile.csv",
        kind="article" if published_at else "draft",
        title="" if heading is None else str(heading.text_content()),
        markup="html",
        created_at=published_at or _find_time(created_text),
    )

    def read_text() -> str:
        for element in (created, published, heading):
            if element is not None:
                element.drop_tree()
        return serialize_inner_html(tree)

    return add_text(record, read_text, include)


def decode_csv(body: bytes) -> str:
    """Decode UTF-8 (with or without a byte order mark) or Windows-1252, with `\\n` line ends."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_columns(text: str) -> list[str]:
    """Return the columns named in the first line, or [] if it is not the `Shares.csv` header."""
    header = text.lstrip("\n").partition("\n")[0]
    columns = [name.strip() for name in next(csv.reader([header]), list[str]())]
    return columns if "ShareCommentary" in columns and columns[0] == "Date" else []


def iter_share_rows(text: str) -> Iterator[dict[str, str] | None]:
    """Yield the rows of `Shares.csv`, with None for each row that cannot be parsed.

    Args:
        text: the decoded file, with a header that `read_columns` accepts.
    """
    import ftfy  # the import takes 0.1 s and is needed only here

    columns = read_columns(text)
    index = columns.index("ShareCommentary")
    row_pattern = re.compile(
        "([^,]*)," * index + "(.*)" + _LAST_COLUMN * (len(columns) - index - 1), re.DOTALL
    )
    body = text.lstrip("\n").partition("\n")[2]
    starts = [match.start() for match in _ROW_START.finditer(body)]
    if body[: starts[0] if starts else None].strip():
        yield None  # the text before the first row is not a row
    for start, end in pairwise([*starts, len(body)]):
        match = row_pattern.fullmatch(body[start:end].rstrip("\n"))
        if match is None or _MERGED_ROW.search(match[index + 1]):
            yield None
            continue
        row = dict(zip(columns, (value.strip('"') for value in match.groups()), strict=True))
        commentary = _unquote(match[index + 1].strip())
        yield row | {"ShareCommentary": ftfy.fix_encoding(commentary).strip()}


def _unquote(commentary: str) -> str:
    """Return a commentary without its quotes, which may enclose it whole or line by line."""
    is_quoted = len(commentary) > 1 and commentary[0] == commentary[-1] == '"'
    quoted_text = commentary[1:-1] if is_quoted else commentary
    text = quoted_text.replace('""', '"')
    for lines in (quoted_text.split('"\n"'), text.split('"\n"')):
        # `He said "yes"`, newline, `"No" was the answer` is not quoted line by line.
        if len(lines) > 1 and not any("\n" in line or line.count('"') % 2 for line in lines):
            return "\n".join(line.replace('""', '"') for line in lines)
    return text


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


def _find_time(text: str) -> datetime | None:
    match = _TIMESTAMP.search(text)
    return parse_local_datetime(match[0]) if match else None


IMPORTER = Importer(
    NAME,
    "LinkedIn data export",
    find_files,
    read_file,
    (
        RejectedExport(
            (
                (r"Shares\.csv",),
                (r"Articles/Articles/.*\.html",),
                (r"Connections\.csv", r"Profile\.csv"),
            ),
            r"\A\W*Date,ShareLink,ShareCommentary|<a href=\"https://www\.linkedin\.com/pulse/",
        ),
    ),
)
