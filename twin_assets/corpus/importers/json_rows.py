"""Rows of a JSON list, one by one, where a damaged row costs itself and no other.

Belongs here: finding the list, decoding its rows, going on after a row that does not decode.
Does not belong here: what a row means (one importer a platform), reading files (`archive`).

Grammar: https://www.rfc-editor.org/rfc/rfc8259. `json.loads` gives all of a file or nothing: one
byte lost in an archive of 50,000 posts would cost them all.
"""
# pyright: strict

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

_DECODER = json.JSONDecoder()
_BETWEEN = re.compile(r"[\s,]*")
_END_OF_LIST = re.compile(r"\]\s*(?:\Z|[}\];]|,\s*\")")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

MALFORMED, TORN = "malformed_row", "torn"
"""Words for `Skipped`: a row that does not decode; a list that is cut off or not there."""


def as_text(body: bytes) -> str:
    """UTF-8 with or without a byte order mark; bytes that are not UTF-8 mark their row (`rows`)."""
    return body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def rows(
    text: str, *, begins: re.Pattern[str], key: str = "", nothing_follows: bool = True
) -> Iterator[dict[str, Any] | str]:
    """The objects of one list in `text` (from `as_text`), in order; a reason for each damaged one.

    Args:
        text: a JSON document, or a script that assigns one.
        begins: how a row begins: the place to go on at after damage.
        key: the member that holds the list; "" when the document is the list itself.
        nothing_follows: nothing after this list looks like a row, so that what does was cut off
            from it by a stray bracket.

    Yields:
        `MALFORMED` for a row that does not decode or is no object, `TORN` for a list that never
        ends, and for a document without the list.
    """
    # Mastodon 4 writes the list twice, the first time empty; of a member said twice the last counts
    named = rf'"{re.escape(key)}"\s*:\s*\['
    opening = re.compile(rf"(?:{named}\s*\]\s*,\s*)*{named}" if key else r"\[").search(text)
    first = begins.search(text)
    if opening is None or (not key and first is not None and first.start() < opening.start()):
        yield TORN  # the head is damaged; the rows may not be
        if first is None:
            return
        at = first.start()
    else:
        at = opening.end()
    while True:
        at = cast("re.Match[str]", _BETWEEN.match(text, at)).end()
        if _END_OF_LIST.match(text, at):
            following = begins.search(text, at) if nothing_follows else None
            if following is None:
                return
            yield MALFORMED
            at = following.start()
        if at >= len(text):
            yield TORN
            return
        row, end = _row(text, at)
        yield row
        if end is None:
            following = begins.search(text, at + 1)
            if following is None:
                if not text.rstrip("; \t\r\n").endswith("}" if key else "]"):
                    yield TORN
                return
            end = following.start()
        at = end


def _row(text: str, at: int) -> tuple[dict[str, Any] | str, int | None]:
    """The object at `at` (or `MALFORMED`) and where it ends (None: nobody knows)."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    # RecursionError: brackets nested deeper than the interpreter's stack.
    except (ValueError, RecursionError):
        return MALFORMED, None
    if not isinstance(value, dict):
        # A stray number between rows is passed over; a list or string may have swallowed rows.
        return MALFORMED, None if isinstance(value, list | str) else end
    if _NOT_UTF8.search(text, at, end):
        return MALFORMED, end
    return cast("dict[str, Any]", value), end


def member(row: Mapping[str, Any], *path: str) -> object:
    """`row[path[0]][path[1]]…`; None where a step is missing or is no object."""
    value: object = row
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = cast("Mapping[str, object]", value).get(name)
    return value


def string(row: Mapping[str, Any], *path: str) -> str:
    """A text member, without halves of surrogate pairs and control characters; else "".

    A number counts as text: identifiers come as either.
    """
    value = member(row, *path)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**30 else ""
    return _UNWANTED.sub("", value) if isinstance(value, str) else ""


def objects(row: Mapping[str, Any], *path: str) -> list[dict[str, Any]]:
    """The objects of a list member; what else is in the list is left out."""
    value = member(row, *path)
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def strings(row: Mapping[str, Any], *path: str) -> list[str]:
    """The texts of a list member, or the one text that stands in its place."""
    value = member(row, *path)
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return [_UNWANTED.sub("", item) for item in items if isinstance(item, str)]
