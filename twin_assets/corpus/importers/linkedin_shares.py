"""`Shares.csv` of a LinkedIn export → its rows, by column name.

Scope: what makes that file no RFC 4180, put right. Out of scope: what a row means
(`linkedin`).

Seen in exports and in public parsers of them: the commentary's line breaks stand outside its quotes
(`"First."`, newline, `""`, newline, `"Third."`), once as rows of their own and once escaped within
one field; quotes within it are doubled or not; UTF-8 was read as Windows-1252 and written again.
A row is therefore found by how it begins (time and address), its last columns are taken from
its end, and what is left between them is the commentary. Which quotes may stand in there decides
whether it is one row: where damage joined two, the end of the second says who may read the first,
so a row in doubt is none (`_is_one_commentary`).
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
# A row: its time, or something short in place of one, and then LinkedIn's address. Time and address
# together begin one also within a line: the line end before them was damaged.
_ROW = re.compile(rf'^(?:"?{_TIME}"?,|"?[^,"\n]{{0,40}}"?,{_LINK})|{_TIME},{_LINK}', re.M)
_END_OF_ROW = re.compile(r',"?[A-Z_]+"?\n')  # by a word: an empty column may have lost it
_PLAIN = re.compile(r"[A-Za-z_]*|https?://\S*")
# The address of a post as a column: prose goes on with a space after the comma.
_ADDRESS_COLUMN = re.compile(r'\burn(?:%3A|:)li(?:%3A|:)\w+(?:%3A|:)\d+"?,(?=\S)', re.IGNORECASE)
# A quote that is not doubled, between two words that no space separates: it opens nothing and
# closes nothing. Only after ASCII: scripts without spaces quote so (`使用"Python"编程`).
_QUOTE_WITHIN_A_WORD = re.compile(r'(?<=[!-~])(?<![-("\[{/])"(?=[\w%:/])')


def decoded(body: bytes) -> str:
    """UTF-8 with or without a byte order mark, else Windows-1252; `\\n` line ends."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def columns_of(text: str) -> list[str]:
    """The columns that the first line names; [] when it is no head of `Shares.csv`."""
    head = text.lstrip("\n").partition("\n")[0]
    columns = [name.strip() for name in next(csv.reader([head]), list[str]())]
    return columns if "ShareCommentary" in columns and columns[0] == "Date" else []


def share_rows(text: str) -> Iterator[dict[str, str] | None]:
    """The rows of `Shares.csv`; None for one that cannot be taken apart.

    Args:
        text: the file, decoded, with `columns_of` it.
    """
    columns = columns_of(text)
    rest = text.lstrip("\n").partition("\n")[2]
    starts = [match.start() for match in _ROW.finditer(rest)]
    if rest[: starts[0] if starts else None].strip():
        yield None  # before the first row there is something that is none
    for start, end in pairwise([*starts, len(rest)]):
        chunk = rest[start:end].rstrip("\n")
        if end == len(rest) and chunk.endswith(",") and not rest.endswith("\n"):
            yield None  # torn: its last column may have said something
            continue
        row = _row(chunk, columns)
        if row is None and (ending := _END_OF_ROW.search(chunk)):
            # The rest of a damaged row may stand below a whole one.
            whole = _row(chunk[: ending.end() - 1], columns)
            if whole is not None:
                yield whole
        yield row


def _row(chunk: str, columns: list[str]) -> dict[str, str] | None:
    fields = _by_the_standard(chunk, len(columns)) or _from_both_ends(chunk, columns)
    if fields is None:
        return None
    row = dict(zip(columns, fields, strict=True))
    if _ADDRESS_COLUMN.search(row["ShareCommentary"]):
        return None
    import ftfy  # 0.1 s, and only here

    row["ShareCommentary"] = ftfy.fix_encoding(_joined(row["ShareCommentary"])).strip()
    return row


def _by_the_standard(chunk: str, count: int) -> list[str] | None:
    try:
        rows = list(csv.reader(io.StringIO(chunk, newline=""), strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 and len(rows[0]) == count else None


def _from_both_ends(chunk: str, columns: list[str]) -> list[str] | None:
    place = columns.index("ShareCommentary")
    left: list[str] = []
    for _ in range(place):
        value, comma, chunk = chunk.partition(",")
        if not comma:
            return None
        left.append(value.strip('"'))
    right: list[str] = []
    for _ in columns[place + 1 :]:
        opening = chunk.rfind(',"', 0, len(chunk) - 1) if chunk.endswith('"') else chunk.rfind(",")
        if opening < 0:
            return None
        value = chunk[opening + 1 :].strip('"')
        if not _PLAIN.fullmatch(value):
            return None
        right.insert(0, value)
        chunk = chunk[:opening]
    chunk = chunk.strip()
    if not _is_one_commentary(chunk):
        return None
    if len(chunk) > 1 and chunk[0] == chunk[-1] == '"':
        chunk = chunk[1:-1]
    # Still as it was written: inner quotes are doubled where the paragraphs are not joined below.
    return [*left, chunk if _paragraphs(chunk) else chunk.replace('""', '"'), *right]


def _is_one_commentary(written: str) -> bool:
    """Whether the quotes are those of one text, however LinkedIn wrote it.

    They come in pairs; a comma or a line end stands within quotes; those of the text are all
    doubled or none is, and one that is not doubled stands at the edge of a word.
    """
    if written.count('"') % 2:
        return False
    quoted = len(written) > 1 and written[0] == written[-1] == '"'
    if not quoted:
        return "," not in written and "\n" not in written
    inner = written[1:-1]
    for line in re.split(r'"\n"', inner):
        bare = '"' in line.replace('""', "")
        if bare and ('""' in line or _QUOTE_WITHIN_A_WORD.search(line)):
            return False
    return True


def _joined(commentary: str) -> str:
    """The commentary with its line breaks inside."""
    paragraphs = _paragraphs(commentary)
    return commentary if paragraphs is None else "\n".join(paragraphs)


def _paragraphs(commentary: str) -> list[str] | None:
    """The lines of a commentary that is quoted line by line; None when it is not.

    Every line break stands between two quotes, and what is left of each line has whole pairs of
    quotes (`He said "yes"`, newline, `"No" was the answer` is no such text).
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
