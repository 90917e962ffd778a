"""Front matter of a post: YAML between `---`, TOML between `+++`, a JSON object, or none.

Belongs here: splitting it off and parsing it, and the few fields that every generator shares.
Does not belong here: reading files, dates in file names (`posts`), cleaning.

Formats: https://jekyllrb.com/docs/front-matter/, https://gohugo.io/content-management/front-matter/
"""
# pyright: strict

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, cast
from zoneinfo import ZoneInfo

import yaml

# Jekyll closes YAML by `...` as well.
_FENCE = re.compile(
    r"\A(?:(---)|\+\+\+)[ \t]*\r?\n(.*?)^(?(1)(?:---|\.\.\.)|\+\+\+)[ \t]*(?:\r?\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
_OPENING = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n[A-Za-z_][\w .-]*[ \t]*[:=]")
# A block whose opening is damaged: what it says must not be lost with it. A line of prose says the
# same in code blocks only, and those begin with a fence of their own.
_HEAD = re.compile(r"\A(?:[^\r\n]*\S[^\r\n]*(?:\r\n?|\n|\Z)){1,200}")
_HELD_BACK = re.compile(
    r"^[ \t]*[\"']?(?:draft[\"']?[ \t]*[:=][ \t]*[\"']?true"
    r"|published[\"']?[ \t]*[:=][ \t]*[\"']?false)[\"']?[ \t]*,?[ \t]*\r?$",
    re.MULTILINE,
)
_CODE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_JSON_OPENING = re.compile(r"\A\{\s*[\"}]")
# Sixteen aliases can repeat one node some 360 times; without a bound, nine lines of nine build a
# billion values ("billion laughs"), and merge keys (`<<`) copy them while the block is parsed.
_MOST_ALIASES = 16
# libyaml's composer recurses on the C stack: 100,000 opening brackets end the process.
_DEEPEST = 64
# The names of zones that mail and older blog engines write; dateutil knows UTC and GMT by itself.
_ZONES = {
    name: hours * 3600
    for hours, names in {-4: "EDT", -5: "EST CDT", -6: "CST MDT", -7: "MST PDT", -8: "PST"}.items()
    for name in names.split()
}


class BrokenFrontMatterError(ValueError):
    """The block is there and cannot be parsed; the message is the parser's, in one line."""


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Split `text` into its fields (empty when there is no front matter) and its body.

    A `---` line that opens no mapping is a thematic break and stays in the body.

    Raises:
        BrokenFrontMatterError: the block does not parse, or is never closed.
    """
    if _JSON_OPENING.match(text):
        return _split_json(text)
    match = _FENCE.match(text)
    if match is None:
        if _OPENING.match(text):
            raise BrokenFrontMatterError("it is opened and never closed")
        _refuse_held_back(text)
        return {}, text
    body = text[match.end() :]
    fields = _parsed(match[2], is_yaml=bool(match[1]))
    if fields is None:
        return {}, body
    if not isinstance(fields, dict):
        _refuse_held_back(text)
        return {}, text
    return _named(cast("dict[object, Any]", fields)), body


def _refuse_held_back(text: str) -> None:
    """A text without front matter whose first lines say that it is a draft is a damaged one."""
    head = _HEAD.match(text)
    if head and _HELD_BACK.search(head[0]) and not _CODE.search(head[0]):
        raise BrokenFrontMatterError("it says that the post is held back, and does not open")


def _parsed(block: str, *, is_yaml: bool) -> object:
    try:
        if not is_yaml:
            return tomllib.loads(block.replace("\r\n", "\n"))
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _refuse_bombs(block, loader)
        return yaml.load(block, Loader=loader)
    # ValueError: PyYAML builds dates while it parses, so 2021-13-45 fails there.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BrokenFrontMatterError(" ".join(str(error).split())) from error


def _refuse_bombs(block: str, loader: Any) -> None:
    depth = aliases = 0
    events: Any = yaml  # its stubs leave `parse` without types
    for event in events.parse(block, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > _DEEPEST or aliases > _MOST_ALIASES:
            raise BrokenFrontMatterError(
                f"it nests deeper than {_DEEPEST} or repeats itself more than {_MOST_ALIASES} times"
            )


def _split_json(text: str) -> tuple[dict[str, Any], str]:
    """Hugo's third syntax: an object at the very start, the body after it.

    A post that merely begins with an object, on one line with words after it, has no front matter.
    """
    try:
        fields, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        if re.match(r'\A\{\s*\n\s*"[\w .-]+"\s*:', text):
            raise BrokenFrontMatterError(" ".join(str(error).split())) from error
        return {}, text
    rest = re.match(r"[ \t]*(?:\r?\n|\Z)", text[end:])
    if rest is None or not isinstance(fields, dict):
        return {}, text
    return _named(cast("dict[object, Any]", fields)), text[end + rest.end() :]


def _named(fields: dict[object, Any]) -> dict[str, Any]:
    return {str(key).strip().lower(): value for key, value in fields.items()}


def text_field(fields: Mapping[str, Any], *names: str) -> str:
    """The first of `names` that holds a scalar, as one line of text; "" when none does."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            line = " ".join(str(value).split())
            if line:
                return line
    return ""


def list_field(fields: Mapping[str, Any], *names: str) -> list[str]:
    """The values of all `names`: lists as they are, a string split at commas or else at spaces."""
    found: list[str] = []
    for name in names:
        value = fields.get(name)
        if isinstance(value, str):
            found += value.split(",") if "," in value else value.split()
        elif isinstance(value, list):
            # Scalars only: the text of a nested alias may be endless.
            items = cast("list[object]", value)
            found += [str(item) for item in items if isinstance(item, str | int | float | date)]
    return list(dict.fromkeys(tag.strip() for tag in found if tag.strip()))


def byline(fields: Mapping[str, Any]) -> str:
    """Who the post says wrote it: a name, a list of names, or mappings with a `name`."""
    for name in ("author", "authors", "byline"):
        value = fields.get(name)
        people: list[object] = cast("list[object]", value) if isinstance(value, list) else [value]
        names: list[str] = []
        for person in people:
            if isinstance(person, dict):
                names.append(text_field(cast("dict[str, Any]", person), "name", "display_name"))
            else:
                names.append(text_field({"name": person}, "name"))
        if joined := ", ".join(name for name in names if name):
            return joined
    return ""


def moment(value: object, zone: ZoneInfo | None = None) -> datetime | None:
    """A front matter date in UTC; None when it is not one.

    A date without a zone is taken in `zone` (the site's, else UTC): Jekyll and Hugo do the same.
    """
    from dateutil import parser

    if isinstance(value, str) and value.strip():
        try:
            value = parser.parse(value.strip(), default=datetime(1, 1, 1), tzinfos=_ZONES)
        except (ValueError, OverflowError, TypeError):
            return None
        if value.year == 1:  # a bare weekday or time: dateutil filled the year from the default
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is None:
        value = value.replace(tzinfo=zone or UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return None


def is_draft(fields: Mapping[str, Any]) -> bool:
    """Whether the author held it back: `draft: true` (Hugo) or `published: false` (Jekyll)."""
    return fields.get("draft") in (True, "true") or fields.get("published") in (False, "false")
