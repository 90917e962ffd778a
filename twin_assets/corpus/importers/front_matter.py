"""Front matter of a post: YAML between `---`, TOML between `+++`, JSON, bare lines, or none.

Belongs here: splitting it off and parsing it, and the few fields that every generator shares.
Does not belong here: reading files, when a post was written (`post_dates`), what holds it back
(`held_back`), cleaning.

Formats: https://jekyllrb.com/docs/front-matter/, https://gohugo.io/content-management/front-matter/
and https://python-markdown.github.io/extensions/meta_data/ (Pelican's lines without fences).
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

from twin_assets.corpus.importers.held_back import says_held_back

# Jekyll closes YAML by `...` as well.
_FENCE = re.compile(
    r"\A(?:(---)|\+\+\+)[ \t]*\r?\n(.*?)^(?(1)(?:---|\.\.\.)|\+\+\+)[ \t]*(?:\r?\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
_OPENING = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n[A-Za-z_][\w .-]*[ \t]*[:=]")
# A block whose opening is damaged: what it says must not be lost with it. A line of prose says the
# same in code blocks only, and those begin with a fence of their own.
_HEAD = re.compile(r"\A(?:[^\r\n]*\S[^\r\n]*(?:\r\n?|\n|\Z)){1,200}")
_CODE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_CLOSED = re.compile(
    r"\A(?=\w[\w ]{0,30}:)((?:(?!---)[^\r\n]*(?:\r\n|\n)){1,60}?)---+[ \t]*(?:\r?\n|\Z)"
)
_METADATA_LINE = re.compile(
    r"[ ]{0,3}([A-Za-z][A-Za-z0-9_ -]{0,30}?)[ \t]*::?(?:[ \t]+|$|(?=\w))(.*)"
)
_TELLING = frozenset(
    {"title", "date", "slug", "tags", "category", "categories", "author", "authors", "summary"}
    | {"modified", "status", "lang", "language", "keywords", "description", "template", "layout"}
    | {"published", "draft", "public", "private", "publish", "visibility", "permalink", "url"}
)
_JSON_OPENING = re.compile(r"\A\{\s*[\"}]")
# Sixteen aliases can repeat one node some 360 times; without a bound, nine lines of nine build a
# billion values ("billion laughs"), and merge keys (`<<`) copy them while the block is parsed.
_MOST_ALIASES = 16
# libyaml's composer recurses on the C stack: 100,000 opening brackets end the process.
_DEEPEST = 64
_MOST_METADATA = 40
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
    if match is None and (closed := _closed_only(text)) is not None:
        return closed
    if match is None:
        if _OPENING.match(text):
            raise BrokenFrontMatterError("it is opened and never closed")
        if (metadata := _split_metadata(text)) is not None:
            return metadata
        _refuse_held_back(text)
        return {}, text
    body = text[match.end() :]
    fields = _parsed(match[2], is_yaml=bool(match[1]))
    if fields is None:
        return {}, body
    if not isinstance(fields, dict):
        # `status:draft` without a space is a scalar to YAML, and a field to who wrote it.
        block = _split_metadata(match[2].strip("\r\n") + "\n\n") if match[1] else None
        if block is not None:
            return block[0], body
        _refuse_held_back(text)
        return {}, text
    return _named(cast("dict[object, Any]", fields)), body


def _closed_only(text: str) -> tuple[dict[str, Any], str] | None:
    """Hexo's front matter may lack the fence that opens it: fields to the first `---`."""
    match = _CLOSED.match(text)
    if match is None:
        return None
    try:
        fields = _parsed(match[1], is_yaml=True)
    except BrokenFrontMatterError:
        return None
    if not isinstance(fields, dict):
        return None
    named = _named(cast("dict[object, Any]", fields))
    return (named, text[match.end() :]) if _TELLING & named.keys() else None


def _split_metadata(text: str) -> tuple[dict[str, Any], str] | None:
    """Lines `Key: value` at the very start, up to a blank one; None where the first are prose.

    They are metadata when each is a field (or goes on by four spaces) and they name a title, or two
    fields that posts have, or what holds the post back: `status: draft` alone is no sentence.
    """
    fields: dict[str, Any] = {}
    last, position = "", 0
    for line in text.splitlines(keepends=True):
        position += len(line)
        bare = line.rstrip()
        if not bare:
            break
        match = _METADATA_LINE.fullmatch(bare)
        if match is not None:
            last = " ".join(match[1].lower().split())
            fields[last] = f"{fields[last]}, {match[2]}" if last in fields else match[2]
        elif last and line.startswith(("    ", "\t")):
            fields[last] = f"{fields[last]} {bare.strip()}".strip()
        else:
            return None
        if len(fields) > _MOST_METADATA:
            return None
    telling = _TELLING & fields.keys()
    is_head = "title" in telling or len(telling) > 1
    if not is_head and not any(says_held_back(f"{key}: {value}") for key, value in fields.items()):
        return None
    return fields, text[position:]


def _refuse_held_back(text: str) -> None:
    """A text without front matter whose first lines say that it is a draft is a damaged one."""
    head = _HEAD.match(text)
    lines = [line for line in head[0].splitlines() if ":" in line or "=" in line] if head else []
    if head and any(map(says_held_back, lines)) and not _CODE.search(head[0]):
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
    entries: list[str] = []
    for name in names:
        value = fields.get(name)
        if isinstance(value, str):
            entries += value.split(",") if "," in value else value.split()
        elif isinstance(value, list):
            # Scalars only: the text of a nested alias may be endless.
            items = cast("list[object]", value)
            entries += [str(item) for item in items if isinstance(item, str | int | float | date)]
    return list(dict.fromkeys(tag.strip() for tag in entries if tag.strip()))


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
