"""Front matter of a post: YAML between `---`, TOML between `+++`, JSON, bare lines, or none.

Scope: splitting it off and parsing it, and the few fields that every generator shares.
Out of scope: reading files, when a post was written (`post_dates`), what holds it back
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
from functools import partial
from typing import Any, cast
from zoneinfo import ZoneInfo

import yaml

from twin_assets.corpus.importers import lenient_fields
from twin_assets.corpus.importers.visibility_rules import held_back_line, why_held_back

# Jekyll closes YAML by `...` as well; gray-matter names the language behind the fence.
_FENCE = re.compile(
    r"\A(?:(---(?:ya?ml|json)?|;;;)|(?:\+\+\+|---toml))[ \t]*\r?\n(.*?)"
    r"^(?(1)(?:---|\.\.\.|;;;)|(?:\+\+\+|---))[ \t]*(?:\r?\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
# JBake's lines, `key=value`.
_JBAKE = re.compile(r"\A((?:[\w.-]+=[^\r\n]*\r?\n)+)~{3,}[ \t]*(?:\r?\n|\Z)")
# A fence that misses or has too many of its marks opens a head where fields of a post follow.
_DAMAGED = re.compile(
    r"\A(?:(-{2}|-{4,}|—+-*)|\+{2}|\+{4,})[ \t]*\r?\n(.*?)^(?:-{2,}|—+-*|\+{2,})[ \t]*(?:\r?\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
_OPENING = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n[A-Za-z_][\w .-]*[ \t]*[:=]")
# Generators want the fence in the first line; who wrote it below a blank one or a comment meant it.
_LEAD = re.compile(r"(?:[\s\u200b\u2060\ufeff]+|<!--(?:(?!-->).){0,4000}-->)*", re.DOTALL)
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_NIKOLA = re.compile(r"^[ \t]*\.\.[ \t]+", re.MULTILINE)
# A block whose opening is damaged: what it says must not be lost with it. A line of prose says the
# same in code blocks only, and those begin with a fence of their own.
_HEAD = re.compile(r"\A(?:[^\r\n]*\S[^\r\n]*(?:\r\n?|\n|\Z)){1,200}")
_CODE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_CLOSED = re.compile(
    r"\A(?=\w[\w ]{0,30}:)((?:(?!---)[^\r\n]*(?:\r\n|\n)){1,60}?)---+[ \t]*(?:\r?\n|\Z)"
)
_METADATA_LINE = re.compile(
    r"(?:[ ]{0,3}|[-*][ ]+)([^\W\d_][\w -]{0,30}?)[ \t]*(::?)(?:[ \t]+|$|(?=\w))(.*)"
)
# A title in Markdown, Textile or AsciiDoc, or a line that marks underline; Org's keywords.
_TITLE = re.compile(
    r"\A(?:(?:(?:#{1,2}|=|h1\.)[ \t]+[^\r\n]+"
    r"|(?=[^\r\n]*\w)[^\r\n]{1,300}\r?\n([=\-~^#*])\1{2,})[ \t]*\r?\n"
    r"|(?:#\+\w+:[^\r\n]*\r?\n)+)\s*"
)
_TITLE_MARKS = re.compile(r"\A(?:#+|=|h1\.)[ \t]+")
_INLINE = re.compile(r"[\[<&`*_]|#\+")  # who reads the markup makes words of such a title
_TELLING = frozenset(
    {"title", "date", "slug", "tags", "category", "categories", "author", "authors", "summary"}
    | {"modified", "status", "lang", "language", "keywords", "description", "template", "layout"}
    | {"published", "draft", "public", "private", "publish", "visibility", "permalink", "url"}
    | {"created", "created time", "created by", "last edited time", "last edited by", "updated"}
)
_JSON_OPENING = re.compile(r"\A\{\s*[\"}]")
# Sixteen aliases can repeat one node some 360 times; without a bound, nine lines of nine build a
# billion values ("billion laughs"), and merge keys (`<<`) copy them while the block is parsed.
_MAX_ALIASES = 16
# libyaml's composer recurses on the C stack: 100,000 opening brackets end the process.
_DEEPEST = 64
_MAX_METADATA = 40
# The names of zones that mail and older blog engines write; dateutil knows UTC and GMT by itself.
_ZONES = {
    name: hours * 3600
    for hours, names in {-4: "EDT", -5: "EST CDT", -6: "CST MDT", -7: "MST PDT", -8: "PST"}.items()
    for name in names.split()
}


class BrokenFrontMatterError(ValueError):
    """The block is there and cannot be parsed; the message is the parser's, in one line."""


class _SyntaxError(BrokenFrontMatterError):
    """The parser refuses a block that is neither too deep nor too large: its lines may be read."""


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Split `text` into its fields (empty when there is no front matter) and its body.

    A `---` line that opens no mapping is a thematic break and stays in the body. A block that does
    not parse is read entry by entry (`lenient_fields`). Lines below the title (Notion) are a head
    as well.

    Raises:
        BrokenFrontMatterError: the block is never closed, or nests or repeats without end.
    """
    lead = _LEAD.match(text)
    start = text[lead.end() :] if lead else text
    said = _said_in_comments(lead[0]) if lead else {}
    fields, body = _split(start, opens=start == text)
    if fields:  # a second head may stand below the first: Obsidian's, then Notion's or Dataview's
        said |= _held_below_title(body)
    if said or fields or body != start:
        return said | fields, body
    return {}, text


def _split(text: str, *, opens: bool) -> tuple[dict[str, Any], str]:
    """As `split_front_matter`; `opens`: the text is the whole file."""
    if _JSON_OPENING.match(text):
        return _split_json(text)
    head = _fenced(text) or _closed_only(text)
    if head is not None:
        return head
    if opens and _OPENING.match(text) and not _FENCE.match(text):
        raise BrokenFrontMatterError("it is opened and never closed")
    if (head := _split_metadata(text)) is not None:
        return head
    if title := _TITLE.match(text):
        rest = text[title.end() :]
        if below := _split_metadata(rest) or _fenced(rest, damaged=True):
            words = _TITLE_MARKS.sub("", title[0].splitlines()[0]).strip()
            named = {} if _INLINE.search(words) else {"title": words}
            return named | below[0], title[0] + below[1]
    return _held_below_title(text), text


def _said_in_comments(lead: str) -> dict[str, Any]:
    """The head of a post in Nikola's Markdown, `.. title: A` in a comment, or what a comment above
    the text says of its being held back."""
    fields: dict[str, Any] = {}
    for comment in _COMMENT.findall(lead):
        plain = _NIKOLA.sub("", comment).strip()
        head = _split_metadata(plain + "\n\n")
        fields |= head[0] if head else _held_in_words(plain)
    return fields


def _fenced(text: str, *, damaged: bool = False) -> tuple[dict[str, Any], str] | None:
    """Fields and body of a block between fences; None where there is none.

    Args:
        damaged: where it stands, or how its fences look, it is a head by its fields alone.
    """
    match = _FENCE.match(text)
    if match is None:
        match, damaged = _DAMAGED.match(text), True
    if match is not None:
        fields = _fields_of(match[2], is_yaml=bool(match[1]))
        if fields is not None and (not damaged or _is_telling(fields, held=fields)):
            return fields, text[match.end() :]
    jbake = _JBAKE.match(text)
    if jbake is None:
        return None
    lines = [line.partition("=") for line in jbake[1].splitlines()]
    return {key.strip().lower(): one.strip() for key, _, one in lines}, text[jbake.end() :]


def _fields_of(block: str, *, is_yaml: bool) -> dict[str, Any] | None:
    """The fields of a fenced block; None where it holds prose."""
    try:
        parsed = _parsed(block, is_yaml=is_yaml)
    except _SyntaxError:
        read = lenient_fields.of_yaml if is_yaml else lenient_fields.of_toml
        return read(block, partial(_parsed, is_yaml=is_yaml))
    if parsed is None:
        return {}
    if isinstance(parsed, dict):
        return _named(cast("dict[object, Any]", parsed))
    # `status:draft` without a space is a scalar to YAML, and a field to who wrote it.
    lines = _split_metadata(block.strip("\r\n") + "\n\n") if is_yaml else None
    return lines[0] if lines else None


def _is_telling(fields: Mapping[str, Any], *, held: Mapping[str, Any]) -> bool:
    """Whether they name a title, or two fields that posts have, or what holds the post back."""
    telling = _TELLING & fields.keys()
    return "title" in telling or len(telling) > 1 or bool(why_held_back(held))


def _closed_only(text: str) -> tuple[dict[str, Any], str] | None:
    """Hexo's front matter may lack the fence that opens it: fields to the first `---`."""
    match = _CLOSED.match(text)
    if match is None:
        return None
    fields = _fields_of(match[1], is_yaml=True)
    return (fields, text[match.end() :]) if fields and _TELLING & fields.keys() else None


def _split_metadata(text: str) -> tuple[dict[str, Any], str] | None:
    """Lines `Key: value` at the very start, up to a blank one; None where the first are prose.

    They are metadata when each is a field (or goes on by four spaces) and they are telling
    (`_is_telling`): `status: draft` alone is no sentence. Logseq's `key:: value` is metadata
    whatever its key, and ends before the first line that is none.
    """
    fields: dict[str, Any] = {}
    last, position, is_logseq = "", 0, True
    for line in text.splitlines(keepends=True):
        bare = line.rstrip()
        match = _METADATA_LINE.fullmatch(bare)
        if match is None and bare and fields and is_logseq:
            break
        position += len(line)
        if not bare:
            break
        if match is not None:
            is_logseq = is_logseq and match[2] == "::"
            last = " ".join(match[1].lower().split())
            fields[last] = f"{fields[last]}, {match[3]}" if last in fields else match[3]
        elif last and line.startswith(("    ", "\t")):
            fields[last] = f"{fields[last]} {bare.strip()}".strip()
        else:
            return None
        if len(fields) > _MAX_METADATA:
            return None
    said = dict(line for key in fields if (line := held_back_line(f"{key}: {fields[key]}")))
    is_head = bool(fields) and (is_logseq or _is_telling(fields, held=said))
    return (fields, text[position:]) if is_head else None


def _held_below_title(text: str) -> dict[str, Any]:
    """What the first lines of a text say of its being held back, or those below its title."""
    text = text.lstrip()
    title = _TITLE.match(text)
    return (_held_in_words(text[title.end() :]) if title else {}) | _held_in_words(text)


def _held_in_words(text: str) -> dict[str, Any]:
    """What the first lines of a text without a head say of its being held back."""
    head = _HEAD.match(text)
    if head is None or _CODE.search(head[0]):
        return {}
    return dict(filter(None, map(held_back_line, head[0].splitlines())))


def _parsed(block: str, *, is_yaml: bool) -> object:
    try:
        if not is_yaml:
            return tomllib.loads(block.replace("\r\n", "\n"))
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _refuse_bombs(block, loader)
        return yaml.load(block, Loader=loader)
    except BrokenFrontMatterError:
        raise
    # ValueError: PyYAML builds dates while it parses, so 2021-13-45 fails there.
    except (yaml.YAMLError, ValueError) as error:
        raise _SyntaxError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise BrokenFrontMatterError("it nests without end") from error


def _refuse_bombs(block: str, loader: Any) -> None:
    depth = aliases = 0
    events: Any = yaml  # its stubs leave `parse` without types
    for event in events.parse(block, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > _DEEPEST or aliases > _MAX_ALIASES:
            raise BrokenFrontMatterError(
                f"it nests deeper than {_DEEPEST} or repeats itself more than {_MAX_ALIASES} times"
            )


def _split_json(text: str) -> tuple[dict[str, Any], str]:
    """Hugo's third syntax: an object at the very start, the body after it.

    A post that merely begins with an object, on one line with words after it, has no front matter.
    """
    try:
        fields, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        if (lenient := lenient_fields.of_json(text)) is not None:
            return lenient[0], text[lenient[1] :]
        if re.match(r'\A\{\s*\n\s*"[\w .-]+"\s*:', text):
            raise BrokenFrontMatterError(" ".join(str(error).split())) from error
        return {}, text
    rest = re.match(r"[ \t]*(?:\r?\n|\Z)", text[end:])
    if rest is None or not isinstance(fields, dict):
        return {}, text
    return _named(cast("dict[object, Any]", fields)), text[end + rest.end() :]


def _named(fields: dict[object, Any]) -> dict[str, Any]:
    """Keys in lower case; of two spellings of one key, what holds the post back counts."""
    named: dict[str, Any] = {}
    for key, value in fields.items():
        name = str(key).strip().rstrip(":").lower()  # `public:: false` in YAML
        if name not in named or not why_held_back({name: named[name]}):
            named[name] = value
    return named


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
