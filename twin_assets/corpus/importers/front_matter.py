"""Parse a post's front matter: YAML between `---`, TOML between `+++`, JSON, or bare lines.

Scope: splitting off front matter, parsing it, and the few fields that all generators share.
Out of scope: reading files, finding a post's date (`post_dates`), which fields withhold a post
(`visibility_rules`), cleaning.

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
from twin_assets.corpus.importers.visibility_rules import find_hidden_reason, parse_hiding_line

# Jekyll also closes YAML with `...`; gray-matter names the language after the opening fence.
_FENCE = re.compile(
    r"\A(?:(---(?:ya?ml|json)?|;;;)|(?:\+\+\+|---toml))[ \t]*\r?\n(.*?)"
    r"^(?(1)(?:---|\.\.\.|;;;)|(?:\+\+\+|---))[ \t]*(?:\r?\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
# JBake's `key=value` lines.
_JBAKE = re.compile(r"\A((?:[\w.-]+=[^\r\n]*\r?\n)+)~{3,}[ \t]*(?:\r?\n|\Z)")
# A fence with too few or too many marks still opens front matter if a post's fields follow.
_DAMAGED_FENCE = re.compile(
    r"\A(?:(-{2}|-{4,}|—+-*)|\+{2}|\+{4,})[ \t]*\r?\n(.*?)^(?:-{2,}|—+-*|\+{2,})[ \t]*(?:\r?\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
_FENCE_OPENING = re.compile(r"\A(---|\+\+\+)[ \t]*\r?\n[A-Za-z_][\w .-]*[ \t]*[:=]")
# Generators require the fence on the first line, but authors also put blank lines or a comment
# above it.
_LEADING_BLANKS = re.compile(r"(?:[\s\u200b\u2060\ufeff]+|<!--(?:(?!-->).){0,4000}-->)*", re.DOTALL)
_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_NIKOLA = re.compile(r"^[ \t]*\.\.[ \t]+", re.MULTILINE)
# The fields of a block with a damaged opening fence must not be lost. Prose contains such lines
# only in code blocks, which begin with their own fence.
_HEAD = re.compile(r"\A(?:[^\r\n]*\S[^\r\n]*(?:\r\n?|\n|\Z)){1,200}")
_CODE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_CLOSED_ONLY_HEAD = re.compile(
    r"\A(?=\w[\w ]{0,30}:)((?:(?!---)[^\r\n]*(?:\r\n|\n)){1,60}?)---+[ \t]*(?:\r?\n|\Z)"
)
_METADATA_LINE = re.compile(
    r"(?:[ ]{0,3}|[-*][ ]+)([^\W\d_][\w -]{0,30}?)[ \t]*(::?)(?:[ \t]+|$|(?=\w))(.*)"
)
# A title in Markdown, Textile or AsciiDoc, an underlined title, or Org's keywords.
_TITLE = re.compile(
    r"\A(?:(?:(?:#{1,2}|=|h1\.)[ \t]+[^\r\n]+"
    r"|(?=[^\r\n]*\w)[^\r\n]{1,300}\r?\n([=\-~^#*])\1{2,})[ \t]*\r?\n"
    r"|(?:#\+\w+:[^\r\n]*\r?\n)+)\s*"
)
_TITLE_MARKS = re.compile(r"\A(?:#+|=|h1\.)[ \t]+")
_INLINE_MARKUP = re.compile(r"[\[<&`*_]|#\+")  # markup that needs a parser
_POST_FIELDS = frozenset(
    {"title", "date", "slug", "tags", "category", "categories", "author", "authors", "summary"}
    | {"modified", "status", "lang", "language", "keywords", "description", "template", "layout"}
    | {"published", "draft", "public", "private", "publish", "visibility", "permalink", "url"}
    | {"created", "created time", "created by", "last edited time", "last edited by", "updated"}
)
_JSON_OPENING = re.compile(r"\A\{\s*[\"}]")
# Sixteen aliases can repeat one node about 360 times. Without a limit, nine lines with nine aliases
# each build a billion values ("billion laughs"), and merge keys (`<<`) copy them during parsing.
_MAX_ALIASES = 16
# libyaml's composer recurses on the C stack, so 100,000 opening brackets crash the process.
_MAX_DEPTH = 64
_MAX_METADATA_FIELDS = 40
# Time zone names in mail and older blog engines; dateutil handles UTC and GMT.
_ZONES = {
    name: hours * 3600
    for hours, names in {-4: "EDT", -5: "EST CDT", -6: "CST MDT", -7: "MST PDT", -8: "PST"}.items()
    for name in names.split()
}


class BrokenFrontMatterError(ValueError):
    """A block that cannot be parsed; the message gives the reason on one line."""


class _SyntaxError(BrokenFrontMatterError):
    """A block within the limits that the parser rejects; its lines may still be readable."""


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Split `text` into its fields (empty if there is no front matter) and its body.

    A `---` line that opens no mapping is a thematic break and stays in the body. A block that does
    not parse is read entry by entry (`lenient_fields`). Fields below the title, as in Notion, also
    count as front matter.

    Raises:
        BrokenFrontMatterError: the block is never closed, or exceeds the limits on nesting or
            repetition.
    """
    leading_blanks = _LEADING_BLANKS.match(text)
    stripped_text = text[leading_blanks.end() :] if leading_blanks else text
    comment_fields = _parse_comment_fields(leading_blanks[0]) if leading_blanks else {}
    fields, body = _split_block(stripped_text, is_whole_file=stripped_text == text)
    if fields:  # more fields may follow: those of Notion or Dataview below Obsidian's
        comment_fields |= _find_visibility_fields_below_title(body)
    if comment_fields or fields or body != stripped_text:
        return comment_fields | fields, body
    return {}, text


def _split_block(text: str, *, is_whole_file: bool) -> tuple[dict[str, Any], str]:
    """Split `text` as `split_front_matter` does.

    Args:
        is_whole_file: whether nothing precedes `text` in its file.
    """
    if _JSON_OPENING.match(text):
        return _split_json(text)
    head_and_body = _split_fenced(text) or _split_unopened_block(text)
    if head_and_body is not None:
        return head_and_body
    if is_whole_file and _FENCE_OPENING.match(text) and not _FENCE.match(text):
        raise BrokenFrontMatterError("it is opened and never closed")
    if (head_and_body := _split_metadata(text)) is not None:
        return head_and_body
    if title := _TITLE.match(text):
        body = text[title.end() :]
        if second_head := _split_metadata(body) or _split_fenced(body, needs_post_fields=True):
            title_text = _TITLE_MARKS.sub("", title[0].splitlines()[0]).strip()
            title_field = {} if _INLINE_MARKUP.search(title_text) else {"title": title_text}
            return title_field | second_head[0], title[0] + second_head[1]
    return _find_visibility_fields_below_title(text), text


def _parse_comment_fields(leading_text: str) -> dict[str, Any]:
    """Return the fields in comments above the text.

    They are Nikola's Markdown metadata (`.. title: A`) or lines that withhold the post.
    """
    fields: dict[str, Any] = {}
    for comment in _COMMENT.findall(leading_text):
        comment_text = _NIKOLA.sub("", comment).strip()
        fields_and_body = _split_metadata(comment_text + "\n\n")
        fields |= fields_and_body[0] if fields_and_body else _find_visibility_fields(comment_text)
    return fields


def _split_fenced(
    text: str, *, needs_post_fields: bool = False
) -> tuple[dict[str, Any], str] | None:
    """Return the fields and body of a fenced block, or None if there is none.

    Args:
        needs_post_fields: whether to accept only a block with a post's fields, because its position
            or its fences are unusual.
    """
    match = _FENCE.match(text)
    if match is None:
        match, needs_post_fields = _DAMAGED_FENCE.match(text), True
    if match is not None:
        fields = _parse_fields(match[2], is_yaml=bool(match[1]))
        if fields is not None and (
            not needs_post_fields or _has_post_fields(fields, visibility_fields=fields)
        ):
            return fields, text[match.end() :]
    if jbake_match := _JBAKE.match(text):
        lines = [line.partition("=") for line in jbake_match[1].splitlines()]
        fields = {key.strip().lower(): value.strip() for key, _, value in lines}
        return fields, text[jbake_match.end() :]
    return None


def _parse_fields(block: str, *, is_yaml: bool) -> dict[str, Any] | None:
    """Return the fields of a fenced block, or None if it contains prose."""
    try:
        parsed_block = _parse_block(block, is_yaml=is_yaml)
    except _SyntaxError:
        parse = lenient_fields.parse_yaml if is_yaml else lenient_fields.parse_toml
        return parse(block, partial(_parse_block, is_yaml=is_yaml))
    if parsed_block is None:
        return {}
    if isinstance(parsed_block, dict):
        return _normalize_keys(cast("dict[object, Any]", parsed_block))
    # YAML parses `status:draft`, without a space, as a scalar, but the author meant a field.
    lines = _split_metadata(block.strip("\r\n") + "\n\n") if is_yaml else None
    return lines[0] if lines else None


def _has_post_fields(fields: Mapping[str, Any], *, visibility_fields: Mapping[str, Any]) -> bool:
    """Return whether the fields include a title, two post fields, or one that hides the post."""
    post_fields = _POST_FIELDS & fields.keys()
    return (
        "title" in post_fields
        or len(post_fields) > 1
        or bool(find_hidden_reason(visibility_fields))
    )


def _split_unopened_block(text: str) -> tuple[dict[str, Any], str] | None:
    """Split Hexo front matter without an opening fence: fields up to the first `---`."""
    match = _CLOSED_ONLY_HEAD.match(text)
    if match is None:
        return None
    fields = _parse_fields(match[1], is_yaml=True)
    return (fields, text[match.end() :]) if fields and _POST_FIELDS & fields.keys() else None


def _split_metadata(text: str) -> tuple[dict[str, Any], str] | None:
    """Split off `Key: value` lines at the start, up to a blank line; return None for prose.

    The lines are metadata if `_has_post_fields` is true and each is a field or continues one after
    four spaces. Logseq's `key:: value` lines are metadata with any key; they end before the first
    line with a different syntax.
    """
    fields: dict[str, Any] = {}
    last_key, position, is_logseq = "", 0, True
    for line in text.splitlines(keepends=True):
        stripped_line = line.rstrip()
        match = _METADATA_LINE.fullmatch(stripped_line)
        if match is None and stripped_line and fields and is_logseq:
            break
        position += len(line)
        if not stripped_line:
            break
        if match is not None:
            is_logseq = is_logseq and match[2] == "::"
            last_key = " ".join(match[1].lower().split())
            fields[last_key] = f"{fields[last_key]}, {match[3]}" if last_key in fields else match[3]
        elif last_key and line.startswith(("    ", "\t")):
            fields[last_key] = f"{fields[last_key]} {stripped_line.strip()}".strip()
        else:
            return None
        if len(fields) > _MAX_METADATA_FIELDS:
            return None
    visibility_fields = dict(
        line for key in fields if (line := parse_hiding_line(f"{key}: {fields[key]}"))
    )
    is_head = bool(fields) and (
        is_logseq or _has_post_fields(fields, visibility_fields=visibility_fields)
    )
    return (fields, text[position:]) if is_head else None


def _find_visibility_fields_below_title(text: str) -> dict[str, Any]:
    """Return the fields that withhold a post, from its first lines or those below its title."""
    text = text.lstrip()
    title = _TITLE.match(text)
    return (
        _find_visibility_fields(text[title.end() :]) if title else {}
    ) | _find_visibility_fields(text)


def _find_visibility_fields(text: str) -> dict[str, Any]:
    """Return the fields that withhold a post, from the first lines of a text without metadata."""
    first_lines = _HEAD.match(text)
    if first_lines is None or _CODE.search(first_lines[0]):
        return {}
    return dict(filter(None, map(parse_hiding_line, first_lines[0].splitlines())))


def _parse_block(block: str, *, is_yaml: bool) -> object:
    try:
        if not is_yaml:
            return tomllib.loads(block.replace("\r\n", "\n"))
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _reject_yaml_bombs(block, loader)
        return yaml.load(block, Loader=loader)
    except BrokenFrontMatterError:
        raise
    # ValueError: PyYAML builds dates while it parses, so 2021-13-45 fails there.
    except (yaml.YAMLError, ValueError) as error:
        raise _SyntaxError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise BrokenFrontMatterError("it is nested too deeply") from error


def _reject_yaml_bombs(block: str, loader: Any) -> None:
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


def _split_json(text: str) -> tuple[dict[str, Any], str]:
    """Split off JSON front matter, which Hugo supports: an object at the very start of the text.

    A post that begins with an object followed by words on the same line has no front matter.
    """
    try:
        fields, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        if re.match(r'\A\{\s*\n\s*"[\w .-]+"\s*:', text):
            raise BrokenFrontMatterError(" ".join(str(error).split())) from error
        return {}, text
    line_end = re.match(r"[ \t]*(?:\r?\n|\Z)", text[end:])
    if line_end is None or not isinstance(fields, dict):
        return {}, text
    return _normalize_keys(cast("dict[object, Any]", fields)), text[end + line_end.end() :]


def _normalize_keys(fields: dict[object, Any]) -> dict[str, Any]:
    """Return the fields with lower-case keys; a duplicate that withholds the post is kept."""
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


def parse_datetime(value: object, zone: ZoneInfo | None = None) -> datetime | None:
    """Return a front matter date in UTC, or None if the value is not a date.

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
        return value.astimezone(UTC)
    except OverflowError:
        return None
