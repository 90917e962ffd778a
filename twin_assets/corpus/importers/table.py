"""Import a table of posts (`.csv` or `.jsonl`), the form into which any archive can be turned.

A row of another author is read with that author's name, and cleaning decides about it as about
every signed post. Formats: https://www.rfc-editor.org/rfc/rfc4180, https://jsonlines.org.
"""
# pyright: strict

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import cast

from twin_assets.corpus.importers import conversations
from twin_assets.corpus.importers.archive import Archive
from twin_assets.corpus.importers.foreign_html import remove_foreign_parts, strip_tags
from twin_assets.corpus.importers.importer import Importer
from twin_assets.corpus.importers.post_dates import parse_date
from twin_assets.corpus.importers.record import ExportItem, ExportRecord, SkippedItem
from twin_assets.corpus.importers.suffixes import MAX_POST_BYTES
from twin_assets.corpus.importers.text_encoding import UnknownEncodingError, decode_text
from twin_resources.errors import TwinError

NAME = "table"
COLUMNS = ("title", "date", "author", "text", "url")
"""The columns; all but `text` may be absent, and a row may leave them empty."""

_SUFFIX = re.compile(r"\.(?:csv|jsonl|ndjson)$", re.IGNORECASE)
_MAX_TABLES = 1000
_MAX_TABLE_BYTES = 512 << 20
_MAX_HEAD_BYTES = 2 * MAX_POST_BYTES
_HTML_START = re.compile(
    r"\s*<(?:p|div|h[1-6]|ul|ol|blockquote|pre|figure|article|section)\b[^<>]*>", re.IGNORECASE
)


class _TableError(ValueError):
    """A fault of a table; the message continues the sentence that names its line."""


def read_table(
    archive: Archive,
    name: str,
    include: frozenset[str],  # noqa: ARG001 - a table has only public posts
) -> Iterator[ExportItem]:
    """Yield an item for each row.

    Raises:
        TwinError: a row cannot be read; the message names its line.
    """
    try:
        text, _ = decode_text(archive.read(name, max_bytes=_MAX_TABLE_BYTES))
    except UnknownEncodingError:
        raise _build_error(name, "it is not text in UTF-8") from None
    texts: dict[str, str] = {}
    try:
        for line, row in _read_rows(text):
            yield _build_record(row, f"{name}:{line}", texts)
    except _TableError as error:
        raise _build_error(name, f"line {error.args[0]} {error.args[1]}") from None


def list_tables(archive: Archive) -> list[str]:
    """Return the names of an archive's tables; [] if it also contains anything else."""
    names = list(archive.names())
    is_possible = archive.kind == "file" or all(map(_SUFFIX.search, names))
    if not is_possible or len(names) > _MAX_TABLES:
        return []
    return [] if any(_find_column_fault(archive, name) for name in names) else names


def explain_unread_table(archive: Archive) -> None:
    """Raise an error about the first file that is named like a table but has other columns.

    Raises:
        TwinError: there is such a file.
    """
    for name in archive.names()[:_MAX_TABLES]:
        if _SUFFIX.search(name) and (fault := _find_column_fault(archive, name)):
            raise _build_error(name, fault)


def _find_column_fault(archive: Archive, name: str) -> str:
    """Return what is wrong with the columns that a file's beginning names, or ""."""
    body = archive.head(name, count=_MAX_HEAD_BYTES)
    encoding = "utf-16" if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    head = body.decode(encoding, "replace")
    try:
        if _is_json(head):
            next(_read_json_rows(head))
        else:
            _read_header(head)
    except _TableError as error:
        return f"line {error.args[0]} {error.args[1]}"
    return ""


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{")


def _read_rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each row's first line, and its values by column.

    Raises:
        _TableError: the number of a line, and what is wrong with it.
    """
    if _is_json(text):
        yield from _read_json_rows(text)
        return
    columns, delimiter = _read_header(text)
    # The default limit of a cell, 131,072 characters, is shorter than some posts.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_TABLE_BYTES))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in rows:
            if line > 1 and cells:
                if len(cells) != len(columns):
                    raise _TableError(line, f"has {len(cells)} cells instead of {len(columns)}")
                yield line, dict(zip(columns, cells, strict=True))
            line = rows.line_num + 1
    except csv.Error as error:
        raise _TableError(line, f"begins a row that is no CSV ({error})") from error


def _read_header(text: str) -> tuple[list[str], str]:
    """Return the names in the first line, and the delimiter."""
    first_line = text.partition("\n")[0].rstrip("\r")
    delimiter = max(",;\t", key=first_line.count)
    cells = next(csv.reader([first_line], delimiter=delimiter), [""])
    columns = [cell.strip().lower() for cell in cells]
    _check_columns(columns, 1)
    return columns, delimiter


def _read_json_rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise _TableError(line, "is no JSON object") from error
        if not isinstance(row, dict):
            raise _TableError(line, "is no JSON object")
        values = {name.lower(): value for name, value in cast("dict[str, object]", row).items()}
        _check_columns(values, line)
        for name, value in values.items():
            if not isinstance(value, str | None):
                raise _TableError(line, f'has a "{name}" that is no text in quotes')
        yield line, {name: str(value or "") for name, value in values.items()}


def _check_columns(columns: Iterable[str], line: int) -> None:
    names = list(columns)
    unknown_names = [name for name in names if name not in COLUMNS]
    if unknown_names or len(set(names)) < len(names):
        # A column of a draft's status or of a sender under another name must not be overlooked.
        named = ", ".join(f'"{name[:40]}"' for name in unknown_names[:5]) or "one name twice"
        raise _TableError(line, f"has columns besides {', '.join(COLUMNS)}: {named}")
    if "text" not in names:
        raise _TableError(line, 'has no column "text"')


def _build_record(row: dict[str, str], location: str, texts: dict[str, str]) -> ExportItem:
    line = int(location.rpartition(":")[2])
    title, date, author, url = (
        " ".join(row.get(name, "").split()) for name in ("title", "date", "author", "url")
    )
    text = row["text"].strip()
    if len(text) > MAX_POST_BYTES:
        raise _TableError(line, f"has a text of more than {MAX_POST_BYTES:,} characters")
    if url and not re.fullmatch(r"https?://\S+", url):
        raise _TableError(line, f'has the url "{url[:80]}", which is no http or https address')
    post_date = parse_date(date, language=str) if date else None
    if date and (post_date is None or post_date.is_ambiguous):
        raise _TableError(line, f'has the date "{date[:40]}": write it like 2024-05-31')
    created_at = post_date.time if post_date else None
    markup = "html" if _HTML_START.match(text) else "markdown"
    text = remove_foreign_parts(text) if markup == "html" else text
    if not (strip_tags(text) if markup == "html" else text):
        return SkippedItem(location, "no_text")
    if reason := conversations.find_rejection_reason(text, markup=markup):
        return SkippedItem(location, reason)
    if created_at and created_at > datetime.now(UTC):
        return SkippedItem(location, "not_yet_published")
    source_id = re.sub(r"\Ahttps?://", "", url) or _hash(title or text, date)
    if texts.get(source_id) == text:
        return SkippedItem(location, "duplicate")
    if source_id in texts:
        source_id = _hash(source_id, text)
    texts[source_id] = text
    return ExportRecord(
        source=NAME,
        source_id=source_id,
        text=text,
        kind="post" if created_at else "note",
        title=title,
        url=url,
        author=author,
        byline="author" if author else "",
        markup=markup,
        created_at=created_at,
    )


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def _build_error(name: str, fault: str) -> TwinError:
    return TwinError(
        "import a table of posts",
        found=f"{name}: {fault}",
        next_step="correct the table (deploy/docs/your-blog.md, A table of posts), then import it "
        "again",
    )


IMPORTER = Importer(NAME, "table of posts", list_tables, read_table)
