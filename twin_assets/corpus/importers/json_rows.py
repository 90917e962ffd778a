"""Rows of a platform's JSON files, and their values by type.

A file is read completely or not at all: if a byte is missing, the file is `torn` and its posts do
not change.
Grammar: https://www.rfc-editor.org/rfc/rfc8259.
"""
# pyright: strict

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from zoneinfo import ZoneInfo

from twin_assets.corpus.importers.archive import Archive, MemberError
from twin_assets.corpus.importers.front_matter import parse_local_datetime
from twin_assets.corpus.importers.record import SkippedItem

_Item = TypeVar("_Item")

_ASSIGNMENT = re.compile(rb"\A[\w\s.]*=")
_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

MALFORMED = "malformed_row"
"""Reason in `SkippedItem` for a row that is not an object or lacks a required field."""


def load_document(archive: Archive, name: str, *, max_bytes: int | None = None) -> Any:
    """Return a file's JSON, or the value assigned in a script (`window.YTD.tweets = [ … ]`).

    Raises:
        MemberError: as in `Archive.read`, or `torn` for invalid JSON.
    """
    body = archive.read(name, max_bytes=max_bytes)
    json_text = _ASSIGNMENT.sub(b"", body.removeprefix(b"\xef\xbb\xbf"))
    try:
        return json.loads(json_text.rstrip(b"; \r\n\t"))
    # Brackets nested deeper than the interpreter's stack raise RecursionError.
    except (ValueError, RecursionError) as error:
        raise MemberError(name, "torn") from error


def map_rows(
    name: str, items: object, build: Callable[[dict[str, Any], str], _Item]
) -> Iterator[_Item | SkippedItem]:
    """Yield `build(row, location)` for the objects of a file's list; skip any other item.

    Raises:
        MemberError: `torn` if `items` is not a list.
    """
    if not isinstance(items, list):
        raise MemberError(name, "torn")
    for number, row in enumerate(cast("list[object]", items)):
        location = f"{name}#{number}"
        yield (
            build(cast("dict[str, Any]", row), location)
            if isinstance(row, dict)
            else SkippedItem(location, MALFORMED)
        )


def get_member(row: object, *path: str) -> object:
    """Return `row[path[0]][path[1]]…`, or None if a step is missing or not an object."""
    value = row
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = cast("Mapping[str, object]", value).get(name)
    return value


def get_string(row: object, *path: str) -> str:
    """Return a string member without lone surrogates and control characters, or "".

    An integer counts as a string, because identifiers may have either type.
    """
    value = get_member(row, *path)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**30 else ""
    return _CONTROL_CHARACTERS.sub("", value) if isinstance(value, str) else ""


def get_time(row: object, *path: str, zone: ZoneInfo | None = None) -> datetime | None:
    """Return a member's time, from text or milliseconds since 1970, or None.

    Args:
        zone: the zone to show it in; None for the zone that the text states, or UTC.
    """
    value = get_member(row, *path)
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            time = datetime.fromtimestamp(value / 1000, UTC)
        else:
            time = parse_local_datetime(value) if isinstance(value, str) else None
        return time.astimezone(zone) if time and zone else time
    except (ValueError, OverflowError, OSError):
        return None


def get_objects(row: object, *path: str) -> list[dict[str, Any]]:
    """Return the objects in a list member and omit its other items."""
    value = get_member(row, *path)
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def get_strings(row: object, *path: str) -> list[str]:
    """Return the strings in a list member, or a single string that replaces the list."""
    value = get_member(row, *path)
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return [_CONTROL_CHARACTERS.sub("", item) for item in items if isinstance(item, str)]
