"""Parse `Shares.csv` of a LinkedIn export into rows by column name.

Scope: repairing the file's deviations from RFC 4180.
Out of scope: the meaning of a row (`linkedin`).

Published exports and parsers show these deviations. The commentary's line breaks are outside
its quotes (`"First."`, newline, `""`, newline, `"Third."`), as separate rows or escaped within one
field. Inner quotes may or may not be doubled. Some UTF-8 text was decoded as Windows-1252 and
encoded again.

The parser therefore finds a row by its beginning (time and address). It takes the last columns from
the row's end, and the text in between is the commentary. The commentary's quotes show whether it is
one row. If damage joined two rows, the second row's end would set the first row's visibility, so a
doubtful row is rejected (`_is_one_commentary`).
"""
# pyright: strict

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import pairwise

_TIME = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?: UTC)?"
_LINK = r'"?https?://[\w.]*linkedin\.com/'
# A row starts with its time (or a short text in its place) and LinkedIn's address. A time and an
# address also start a row within a line, because the preceding line end may be damaged.
_ROW_START = re.compile(rf'^(?:"?{_TIME}"?,|"?[^,"\n]{{0,40}}"?,{_LINK})|{_TIME},{_LINK}', re.M)
_ROW_END = re.compile(r',"?[A-Z_]+"?\n')  # not empty: damage may have removed the last word
_PLAIN_VALUE = re.compile(r"[A-Za-z_]*|https?://\S*")
# A post's address as a column; in prose, a space follows the comma.
_ADDRESS_COLUMN = re.compile(r'\burn(?:%3A|:)li(?:%3A|:)\w+(?:%3A|:)\d+"?,(?=\S)', re.IGNORECASE)
# An undoubled quote between two words without a space neither opens nor closes a quotation. This
# applies only after ASCII, because scripts without spaces quote this way (`使用"Python"编程`).
_QUOTE_WITHIN_A_WORD = re.compile(r'(?<=[!-~])(?<![-("\[{/])"(?=[\w%:/])')


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
    columns = read_columns(text)
    body = text.lstrip("\n").partition("\n")[2]
    starts = [match.start() for match in _ROW_START.finditer(body)]
    if body[: starts[0] if starts else None].strip():
        yield None  # the text before the first row is not a row
    for start, end in pairwise([*starts, len(body)]):
        chunk = body[start:end].rstrip("\n")
        if end == len(body) and chunk.endswith(",") and not body.endswith("\n"):
            yield None  # its last column may be cut off
            continue
        row = _parse_row(chunk, columns)
        if row is None and (row_end := _ROW_END.search(chunk)):
            # The rest of a damaged row may follow a complete row.
            first_row = _parse_row(chunk[: row_end.end() - 1], columns)
            if first_row is not None:
                yield first_row
        yield row


def _parse_row(chunk: str, columns: list[str]) -> dict[str, str] | None:
    fields = _parse_standard_csv(chunk, len(columns)) or _parse_from_both_ends(chunk, columns)
    if fields is None:
        return None
    row = dict(zip(columns, fields, strict=True))
    if _ADDRESS_COLUMN.search(row["ShareCommentary"]):
        return None
    import ftfy  # the import takes 0.1 s and is needed only here

    paragraphs = _split_quoted_paragraphs(row["ShareCommentary"]) or [row["ShareCommentary"]]
    row["ShareCommentary"] = ftfy.fix_encoding("\n".join(paragraphs)).strip()
    return row


def _parse_standard_csv(chunk: str, column_count: int) -> list[str] | None:
    try:
        rows = list(csv.reader(io.StringIO(chunk, newline=""), strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 and len(rows[0]) == column_count else None


def _parse_from_both_ends(chunk: str, columns: list[str]) -> list[str] | None:
    commentary_index = columns.index("ShareCommentary")
    leading_values: list[str] = []
    for _ in range(commentary_index):
        value, comma, chunk = chunk.partition(",")
        if not comma:
            return None
        leading_values.append(value.strip('"'))
    trailing_values: list[str] = []
    for _ in columns[commentary_index + 1 :]:
        comma_index = (
            chunk.rfind(',"', 0, len(chunk) - 1) if chunk.endswith('"') else chunk.rfind(",")
        )
        if comma_index < 0:
            return None
        value = chunk[comma_index + 1 :].strip('"')
        if not _PLAIN_VALUE.fullmatch(value):
            return None
        trailing_values.insert(0, value)
        chunk = chunk[:comma_index]
    chunk = chunk.strip()
    if not _is_one_commentary(chunk):
        return None
    if len(chunk) > 1 and chunk[0] == chunk[-1] == '"':
        chunk = chunk[1:-1]
    # The inner quotes of quoted paragraphs are undoubled when the paragraphs are joined.
    return [
        *leading_values,
        chunk if _split_quoted_paragraphs(chunk) else chunk.replace('""', '"'),
        *trailing_values,
    ]


def _is_one_commentary(raw_text: str) -> bool:
    """Return whether the quotes delimit a single text in one of LinkedIn's styles.

    Quotes come in pairs, and commas and line ends occur only within quotes. The inner quotes of a
    line are either all doubled or all undoubled; an undoubled quote is at the edge of a word.
    """
    if raw_text.count('"') % 2:
        return False
    is_quoted = len(raw_text) > 1 and raw_text[0] == raw_text[-1] == '"'
    if not is_quoted:
        return "," not in raw_text and "\n" not in raw_text
    inner_text = raw_text[1:-1]
    for line in re.split(r'"\n"', inner_text):
        has_undoubled_quote = '"' in line.replace('""', "")
        if has_undoubled_quote and ('""' in line or _QUOTE_WITHIN_A_WORD.search(line)):
            return False
    return True


def _split_quoted_paragraphs(commentary: str) -> list[str] | None:
    """Return the lines of a commentary that is quoted line by line, or None for any other.

    Every line break is between two quotes, and the rest of each line has complete pairs of quotes.
    A counterexample is `He said "yes"`, newline, `"No" was the answer`.
    """
    lines = commentary.split("\n")
    if len(lines) == 1:
        return None
    paragraphs: list[str] = []
    for number, line in enumerate(lines):
        leading_quotes, trailing_quotes = int(number > 0), int(number < len(lines) - 1)
        if not line.startswith('"' * leading_quotes) or not line.endswith('"' * trailing_quotes):
            return None
        text = line[leading_quotes : len(line) - trailing_quotes]
        if len(line) < leading_quotes + trailing_quotes or text.count('"') % 2:
            return None
        paragraphs.append(text.replace('""', '"'))
    return paragraphs
