"""Front matter: YAML between `---`, TOML between `+++`, JSON, or lines without fences.

Formats: https://jekyllrb.com/docs/front-matter/, https://gohugo.io/content-management/front-matter/
and https://python-markdown.github.io/extensions/meta_data/ (Pelican's lines without fences).
"""
# pyright: strict

from __future__ import annotations

import codecs
import json
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, cast
from zoneinfo import ZoneInfo

import yaml

from twin_assets.corpus.importers.visibility_rules import find_hidden_reason, parse_hiding_line

# The usual fences, and those with too few or too many marks. gray-matter names the language after
# the fence, Jekyll closes YAML with `...` too, and JBake closes `key=value` lines with `~~~`.
_FENCED = re.compile(
    r"\A(?P<opening>-{2,}|—+-*|\+{2,}|;;;)(?P<language>ya?ml|json|toml)?[ \t]*\r?\n(?P<block>.*?)"
    r"^(?P<closing>-{2,}|—+-*|\+{2,}|;;;|\.\.\.)[ \t]*(?:\r?\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
_UNOPENED = re.compile(
    r"\A(?P<block>(?=\w[\w .-]{0,30}[:=])(?:(?!---|~~~)[^\r\n]*(?:\r\n|\n)){1,60}?)"
    r"(?:-{3,}|~{3,})[ \t]*(?:\r?\n|\Z)"
)
_NEVER_CLOSED = re.compile(r"\A(?:---|\+\+\+)[ \t]*\r?\n[A-Za-z_][\w .-]*[ \t]*[:=]")
_JSON_OPENING = re.compile(r"\A\{\s*[\"}]")
_JSON_FIELD = re.compile(r'\A\{\s*\n\s*"[\w .-]+"\s*:')
# Generators require the fence on the first line, but authors also put blank lines or a comment
# above it. Nikola's fields stand in such a comment (`.. title: A`).
_ABOVE = re.compile(r"(?:[\s\u200b\u2060\ufeff]+|<!--(?:(?!-->).){0,4000}-->)*", re.DOTALL)
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_NIKOLA = re.compile(r"^[ \t]*\.\.[ \t]+", re.MULTILINE)
_FIELD = re.compile(
    r"(?:[ ]{0,3}|[-*][ ]+)([^\W\d_][\w -]{0,30}?)[ \t]*(::?|=)(?:[ \t]+|$|(?=\w))(.*)"
)
# An entry of a block that its parser rejects, and an item of a list below an entry.
_ENTRY = re.compile(r"([\"']?)([^\W\d_][^:=\n#]{0,60}?)\1[ \t]*(?:::?(?=[\s\w]|$)|=)[ \t]*(.*)")
_ITEM = re.compile(r"[ \t]*-[ \t]+(.*)")
_TABLE = re.compile(r"\[+([\w .\"'-]+)\]+[ \t]*(?:#.*)?")
# A title in Markdown, Textile or AsciiDoc, an underlined title, or Org's keywords.
_TITLE = re.compile(
    r"\A(?:(?:(?:#{1,2}|=|h1\.)[ \t]+[^\r\n]+"
    r"|(?=[^\r\n]*\w)[^\r\n]{1,300}\r?\n([=\-~^#*])\1{2,})[ \t]*\r?\n"
    r"|(?:#\+\w+:[^\r\n]*\r?\n)+)\s*"
)
_TITLE_MARKS = re.compile(r"\A(?:#+|=|h1\.)[ \t]+")
_INLINE_MARKUP = re.compile(r"[\[<&`*_]|#\+")  # markup that needs a parser
# The first lines of a text. Prose has lines that hide a post only in code.
_FIRST_LINES = re.compile(r"\A(?:[^\r\n]*\S[^\r\n]*(?:\r\n?|\n|\Z)){1,200}")
_CODE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_POST_FIELDS = frozenset(
    {"title", "date", "slug", "tags", "category", "categories", "author", "authors", "by"}
    | {"summary"}
    | {"modified", "status", "lang", "language", "keywords", "description", "template", "layout"}
    | {"published", "draft", "public", "private", "publish", "visibility", "permalink", "url"}
    | {"created", "created time", "created by", "last edited time", "last edited by", "updated"}
)
# Sixteen aliases can repeat one node about 360 times. Without a limit, nine lines with nine aliases
# each build a billion values ("billion laughs"), and merge keys (`<<`) copy them during parsing.
_MAX_ALIASES = 16
# libyaml's composer recurses on the C stack, so 100,000 opening brackets crash the process.
_MAX_DEPTH = 64
_MAX_FIELDS = 40
# Time zone names in mail and older blog engines; dateutil handles UTC and GMT.
_ZONES = {
    name: hours * 3600
    for hours, names in {-4: "EDT", -5: "EST CDT", -6: "CST MDT", -7: "MST PDT", -8: "PST"}.items()
    for name in names.split()
}


class BrokenFrontMatterError(ValueError):
    """A block that cannot be read; the message gives the reason on one line."""


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Split `text` into its fields (empty if there is no front matter) and its body.

    A `---` line that opens no mapping is a thematic break and stays in the body. A block that does
    not parse is read entry by entry. Fields below the title, as in Notion, also count.

    Raises:
        BrokenFrontMatterError: the block is never closed, or exceeds the limits on nesting or
            repetition.
    """
    above = _ABOVE.match(text)
    body = text[above.end() :] if above else text
    fields: dict[str, Any] = {}
    for comment in _COMMENT.findall(above[0]) if above else ():
        comment_text = _NIKOLA.sub("", comment).strip()
        head = _split_lines(comment_text + "\n\n")
        fields |= head[0] if head else _find_hiding_lines(comment_text)
    head = _split_json(body) or _split_fenced(body)
    if head is None and body == text and _NEVER_CLOSED.match(text) and not _FENCED.match(text):
        raise BrokenFrontMatterError("it is opened and never closed")
    head = head or _split_lines(body)
    if head is None and (title := _TITLE.match(body)):
        below = body[title.end() :]
        if head := _split_lines(below) or _split_fenced(below, is_below_title=True):
            title_text = _TITLE_MARKS.sub("", title[0].splitlines()[0]).strip()
            named = {} if _INLINE_MARKUP.search(title_text) else {"title": title_text}
            head = named | head[0], title[0] + head[1]
    if head is None and not fields:
        return _find_hiding_lines(body), text
    # More fields may follow: those of Notion or Dataview below Obsidian's.
    head_fields, body = head or ({}, body)
    return fields | _find_hiding_lines(body) | head_fields, body


def join_metadata(body: bytes, metadata: bytes) -> bytes:
    """Return a post with the fields of Nikola's `.meta` file as its front matter.

    A file with other content changes nothing.
    https://getnikola.com/handbook.html#metadata-formats
    """
    text = metadata.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if _NEVER_CLOSED.match(text):
        return f"{text}\n".encode() + body.removeprefix(codecs.BOM_UTF8)
    if not _NIKOLA.match(text):
        return body
    fields = split_front_matter(f"<!--\n{text}\n-->\n")[0]
    return json.dumps(fields).encode() + b"\n" + body.removeprefix(codecs.BOM_UTF8)


def _split_fenced(text: str, *, is_below_title: bool = False) -> tuple[dict[str, Any], str] | None:
    """Return the fields and body of a fenced block, or None if there is none.

    A block with unusual fences, or below a title, needs the fields of a post.
    """
    match = _FENCED.match(text)
    is_usual = (
        match is not None and match["opening"] in {"---", "+++", ";;;"} and not is_below_title
    )
    match = match or _UNOPENED.match(text)
    if match is None:
        return None
    is_toml = match.groupdict().get("language") == "toml" or text.startswith("++")
    fields = _parse_block(match["block"], is_toml=is_toml)
    if fields is None or not (is_usual or _is_head_of_post(fields)):
        return None
    return fields, text[match.end() :]


def _parse_block(block: str, *, is_toml: bool) -> dict[str, Any] | None:
    """Return the fields of a block, or None if it contains prose."""
    try:
        parsed = _parse_strictly(block, is_toml=is_toml)
    except BrokenFrontMatterError:
        raise
    # ValueError: PyYAML builds dates while it parses, so 2021-13-45 fails there.
    except (yaml.YAMLError, ValueError):
        return _parse_leniently(block, is_toml=is_toml)
    if isinstance(parsed, dict):
        return _normalize_keys(cast("dict[object, Any]", parsed))
    if parsed is None:
        return {}
    # YAML parses `status:draft`, without a space, as a scalar, but the author meant a field.
    lines = _split_lines(block.strip("\r\n") + "\n\n")
    return lines[0] if lines else None


def _parse_strictly(block: str, *, is_toml: bool) -> object:
    try:
        if is_toml:
            return tomllib.loads(block.replace("\r\n", "\n"))
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        depth = aliases = 0
        yaml_module: Any = yaml  # the type stubs leave `parse` untyped
        for event in yaml_module.parse(block, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            aliases += isinstance(event, yaml.AliasEvent)
            if depth > _MAX_DEPTH or aliases > _MAX_ALIASES:
                raise BrokenFrontMatterError(
                    f"it has more than {_MAX_DEPTH} levels or more than {_MAX_ALIASES} aliases"
                )
        return yaml.load(block, Loader=loader)
    except RecursionError as error:
        raise BrokenFrontMatterError("it is nested too deeply") from error


def _parse_leniently(block: str, *, is_toml: bool) -> dict[str, Any] | None:
    """Return the fields of a block that does not parse, or None if most of its lines are prose.

    An entry that does not parse becomes text, and lines below it that would hide the post count.
    """
    fields: dict[str, Any] = {}
    table, entries, prose_count = fields, list[tuple[re.Match[str], list[str], dict[str, Any]]](), 0
    for line in block.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if is_toml and (header := _TABLE.fullmatch(line)):
            table = fields.setdefault(header[1].strip(" \"'").lower(), {})
        elif entry := _ENTRY.fullmatch(line.rstrip()):
            entries.append((entry, [], table))
        elif entries:
            prose_count += not line.startswith((" ", "\t", "-", "]", "}", '"', "'"))
            entries[-1][1].append(line)
        else:
            prose_count += 1
    if prose_count > len(entries):
        return None
    for entry, lines, table in entries:
        try:
            parsed = _parse_strictly("\n".join([entry[0], *lines]) + "\n", is_toml=is_toml)
        except (yaml.YAMLError, ValueError):
            parsed = None
        if isinstance(parsed, dict) and parsed:
            values = _normalize_keys(cast("dict[object, Any]", parsed))
        else:
            text, items = _unquote(entry[3]), list(map(_ITEM.fullmatch, lines))
            value: object = " ".join([text, *map(str.strip, lines)]).strip()
            if items and not text and all(items):
                value = [_unquote(item[1]) for item in items if item]
            values = {entry[2].strip().lower(): value}
            values |= dict(pair for line in lines if (pair := parse_hiding_line(line)))
        for key, value in values.items():
            table.setdefault(key, value)
    return fields


def _unquote(value: str) -> str:
    value = value.strip()
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1].strip() if is_quoted else value


def _is_head_of_post(fields: Mapping[str, Any]) -> bool:
    """Return whether the fields include a title, two post fields, or one that hides the post."""
    post_fields = _POST_FIELDS & fields.keys()
    return "title" in post_fields or len(post_fields) > 1 or bool(find_hidden_reason(fields))


def _split_lines(text: str) -> tuple[dict[str, Any], str] | None:
    """Split off `Key: value` lines at the start, up to a blank line; return None for prose.

    Each line must be a field or continue one after four spaces. Logseq's `key:: value` lines may
    have any key; they end before the first line with a different syntax. So do Pelican's, of which
    two must be a post's.
    """
    fields: dict[str, Any] = {}
    key, position, is_logseq = "", 0, True
    for line in text.splitlines(keepends=True):
        stripped_line = line.rstrip()
        match = _FIELD.fullmatch(stripped_line)
        if match is None and stripped_line and fields and is_logseq:
            break
        position += len(line)
        if not stripped_line:
            break
        if match is not None:
            is_logseq = is_logseq and match[2] == "::"
            key = " ".join(match[1].lower().split())
            fields[key] = f"{fields[key]}, {match[3]}" if key in fields else match[3]
        elif key and line.startswith(("    ", "\t")):
            fields[key] = f"{fields[key]} {stripped_line.strip()}".strip()
        elif len(_POST_FIELDS & fields.keys()) > 1:
            position -= len(line)
            break
        else:
            return None
        if len(fields) > _MAX_FIELDS:
            return None
    hiding = dict(filter(None, (parse_hiding_line(f"{key}: {fields[key]}") for key in fields)))
    is_head = is_logseq or len(_POST_FIELDS & fields.keys()) > 1 or "title" in fields or hiding
    return (fields, text[position:]) if fields and is_head else None


def _find_hiding_lines(text: str) -> dict[str, Any]:
    """Return the fields that hide a post, from its first lines or those below its title."""
    text = text.lstrip()
    fields: dict[str, Any] = {}
    title = _TITLE.match(text)
    for part in (text[title.end() :] if title else "", text):
        lines = _FIRST_LINES.match(part)
        if lines and not _CODE.search(lines[0]):
            fields |= dict(filter(None, map(parse_hiding_line, lines[0].splitlines())))
    return fields


def _split_json(text: str) -> tuple[dict[str, Any], str] | None:
    """Split off JSON front matter, which Hugo supports: an object at the very start of the text.

    A post that begins with an object followed by words on the same line has no front matter.
    """
    if not _JSON_OPENING.match(text):
        return None
    try:
        fields, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        if _JSON_FIELD.match(text):
            raise BrokenFrontMatterError(" ".join(str(error).split())) from error
        return None
    line_end = re.compile(r"[ \t]*(?:\r?\n|\Z)").match(text, end)
    if line_end is None or not isinstance(fields, dict):
        return None
    return _normalize_keys(cast("dict[object, Any]", fields)), text[line_end.end() :]


def _normalize_keys(fields: dict[object, Any]) -> dict[str, Any]:
    """Return the fields with lower-case keys; a duplicate that hides the post is kept."""
    normalized_fields: dict[str, Any] = {}
    for key, value in fields.items():
        name = str(key).strip().rstrip(":").lower()  # `public:: false` in YAML
        if name not in normalized_fields or not find_hidden_reason({name: normalized_fields[name]}):
            normalized_fields[name] = value
    return normalized_fields


def get_text_field(fields: Mapping[str, Any], *names: str) -> str:
    """Return the first scalar among the fields `names` as one line of text, or ""."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            line = " ".join(str(value).split())
            if line:
                return line
    return ""


def get_list_field(fields: Mapping[str, Any], *names: str) -> list[str]:
    """Return the values of all `names`; a string is split at commas, or else at spaces."""
    entries: list[str] = []
    for name in names:
        value = fields.get(name)
        if isinstance(value, str):
            entries += value.split(",") if "," in value else value.split()
        elif isinstance(value, list):
            # Only scalars are used, because the text of nested aliases may be enormous.
            items = cast("list[object]", value)
            entries += [str(item) for item in items if isinstance(item, str | int | float | date)]
    return list(dict.fromkeys(tag.strip() for tag in entries if tag.strip()))


def parse_local_datetime(value: object, zone: ZoneInfo | None = None) -> datetime | None:
    """Return a date of a file in its own zone, or None if the value is not a date.

    A date without a time zone is interpreted in `zone` (the site's, or UTC), as in Jekyll and Hugo.
    """
    from dateutil import parser

    if isinstance(value, str) and value.strip():
        try:
            value = parser.parse(value.strip(), default=datetime(1, 1, 1), tzinfos=_ZONES)
        except (ValueError, OverflowError, TypeError):
            return None
        if value.year == 1:  # a weekday or time alone: dateutil took the year from the default
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is None:
        value = value.replace(tzinfo=zone or UTC)
    try:
        value.astimezone(UTC)
    except OverflowError:
        return None
    return value
