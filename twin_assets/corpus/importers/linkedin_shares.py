"""Parse `Shares.csv` of a LinkedIn export into rows by column name.

Scope: repairing the file's deviations from RFC 4180.
Out of scope: the meaning of a row (`linkedin`).

Exports and public parsers of them show these deviations. The commentary's line breaks are outside
its quotes (`"First."`, newline, `""`, newline, `"Third."`), as separate rows or escaped within one
field. Inner quotes may or may not be doubled. UTF-8 was read as Windows-1252 and written again.
A row is therefore found by its beginning (time and address). Its last columns are taken from its
end, and the text in between is the commentary. The commentary's quotes decide whether it is one
row. If damage joined two rows, the second row's end would set the first row's visibility, so a
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
# A row starts with its time, or a short text in its place, and LinkedIn's address. Time and address
# together also start a row within a line, because the preceding line end may be damaged.
_ROW_START = re.compile(rf'^(?:"?{_TIME}"?,|"?[^,"\n]{{0,40}}"?,{_LINK})|{_TIME},{_LINK}', re.M)
_END_OF_ROW = re.compile(r',"?[A-Z_]+"?\n')  # an empty last column may have lost its word
_PLAIN_VALUE = re.compile(r"[A-Za-z_]*|https?://\S*")
# A post's address as a column; in prose a space follows the comma.
_ADDRESS_COLUMN = re.compile(r'\burn(?:%3A|:)li(?:%3A|:)\w+(?:%3A|:)\d+"?,(?=\S)', re.IGNORECASE)
# An undoubled quote between two words without a space neither opens nor closes a quotation. The
# rule applies only after ASCII: scripts without spaces quote this way (`使用"Python"编程`).
_QUOTE_WITHIN_A_WORD = re.compile(r'(?<=[!-~])(?<![-("\[{/])"(?=[\w%:/])')


def decode_csv(body: bytes) -> str:
    """Decode UTF-8 with or without a byte order mark, else Windows-1252, with `\\n` line ends."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_columns(text: str) -> list[str]:
    """Return the columns named in the first line, or [] if it is not the `Shares.csv` header."""
    head = text.lstrip("\n").partition("\n")[0]
    columns = [name.strip() for name in next(csv.reader([head]), list[str]())]
    return columns if "ShareCommentary" in columns and columns[0] == "Date" else []


def iter_share_rows(text: str) -> Iterator[dict[str, str] | None]:
    """Yield the rows of `Shares.csv`, with None for each row that cannot be parsed.

    Args:
        text: the decoded file, with a header that `read_columns` accepts.
    """
    columns = read_columns(text)
    rest = text.lstrip("\n").partition("\n")[2]
    starts = [match.start() for match in _ROW_START.finditer(rest)]
    if rest[: starts[0] if starts else None].strip():
        yield None  # the text before the first row is not a row
    for start, end in pairwise([*starts, len(rest)]):
        chunk = rest[start:end].rstrip("\n")
        if end == len(rest) and chunk.endswith(",") and not rest.endswith("\n"):
            yield None  # its last column may be cut off
            continue
        row = _parse_row(chunk, columns)
        if row is None and (ending := _END_OF_ROW.search(chunk)):
            # The rest of a damaged row may follow a complete row.
            first_row = _parse_row(chunk[: ending.end() - 1], columns)
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

    row["ShareCommentary"] = ftfy.fix_encoding(_join_paragraphs(row["ShareCommentary"])).strip()
    return row


def _parse_standard_csv(chunk: str, count: int) -> list[str] | None:
    try:
        rows = list(csv.reader(io.StringIO(chunk, newline=""), strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 and len(rows[0]) == count else None


def _parse_from_both_ends(chunk: str, columns: list[str]) -> list[str] | None:
    commentary_index = columns.index("ShareCommentary")
    leading: list[str] = []
    for _ in range(commentary_index):
        value, comma, chunk = chunk.partition(",")
        if not comma:
            return None
        leading.append(value.strip('"'))
    trailing: list[str] = []
    for _ in columns[commentary_index + 1 :]:
        opening = chunk.rfind(',"', 0, len(chunk) - 1) if chunk.endswith('"') else chunk.rfind(",")
        if opening < 0:
            return None
        value = chunk[opening + 1 :].strip('"')
        if not _PLAIN_VALUE.fullmatch(value):
            return None
        trailing.insert(0, value)
        chunk = chunk[:opening]
    chunk = chunk.strip()
    if not _is_one_commentary(chunk):
        return None
    if len(chunk) > 1 and chunk[0] == chunk[-1] == '"':
        chunk = chunk[1:-1]
    # Joining the paragraphs undoubles their inner quotes later.
    return [
        *leading,
        chunk if _split_quoted_paragraphs(chunk) else chunk.replace('""', '"'),
        *trailing,
    ]


def _is_one_commentary(raw_text: str) -> bool:
    """Return whether the quotes delimit a single text in one of LinkedIn's styles.

    Quotes come in pairs, and a comma or a line end is within quotes. The inner quotes of a line are
    either all doubled or all undoubled; an undoubled quote is at the edge of a word.
    """
    if raw_text.count('"') % 2:
        return False
    quoted = len(raw_text) > 1 and raw_text[0] == raw_text[-1] == '"'
    if not quoted:
        return "," not in raw_text and "\n" not in raw_text
    inner = raw_text[1:-1]
    for line in re.split(r'"\n"', inner):
        bare = '"' in line.replace('""', "")
        if bare and ('""' in line or _QUOTE_WITHIN_A_WORD.search(line)):
            return False
    return True


def _join_paragraphs(commentary: str) -> str:
    """Return the commentary with its quoted paragraphs joined by line breaks."""
    paragraphs = _split_quoted_paragraphs(commentary)
    return commentary if paragraphs is None else "\n".join(paragraphs)


def _split_quoted_paragraphs(commentary: str) -> list[str] | None:
    """Return the lines of a commentary that is quoted line by line, or None if it is not.

    Every line break is between two quotes, and the rest of each line has complete pairs of quotes.
    `He said "yes"`, newline, `"No" was the answer` is not such a text.
    """
    lines = commentary.split("\n")
    if len(lines) == 1:
        return None
    inner: list[str] = []
    for number, line in enumerate(lines):
        begins, ends = int(number > 0), int(number < len(lines) - 1)
        if not line.startswith('"' * begins) or not line.endswith('"' * ends):
            return None
        words = line[begins : len(line) - ends]
        if len(line) < begins + ends or words.count('"') % 2:
            return None
        inner.append(words.replace('""', '"'))
    return inner
