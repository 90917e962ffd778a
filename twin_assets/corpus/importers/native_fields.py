"""Read the metadata fields that are written in a text format's own markup.

Scope: reStructuredText field lists, Nikola comments, AsciiDoc attributes, Org keywords and drawers,
and the exports of an MDX page.
Out of scope: front matter, which all these formats may also contain (`front_matter`), and
word-processor documents (`document_fields`).

Formats: https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html#field-lists,
https://getnikola.com/handbook.html#metadata-formats,
https://ablog.readthedocs.io/en/stable/manual/posting-and-listing.html (`.. post:: DATE`),
https://orgmode.org/manual/Export-Settings.html,
https://docs.asciidoctor.org/asciidoc/latest/document/header/, https://ox-hugo.scripter.co.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from twin_assets.corpus.importers.suffixes import ASCIIDOC_SUFFIXES
from twin_assets.corpus.importers.visibility_rules import parse_hiding_line

_MAX_LINES = 400
_MAX_EXPORT_CHARACTERS = 4_000
_FIELD = re.compile(r":([^\W\d_][\w ./-]{0,40}?):(?:[ \t]+(.*))?")
_NIKOLA = re.compile(r"\.\. ([a-z_]+):(?:[ \t]+(.*))?")
_KEYWORD = re.compile(r"#\+([A-Za-z_]+):[ \t]*(.*)")
_ADORNMENT = re.compile(r"([^\w\s])\1*")
_COMMENT = re.compile(r"\.\.(?:[ \t].*)?")
_ABLOG_POST = re.compile(r"\.\. post::[ \t]+(\S.*)")
_RST_DIRECTIVE = re.compile(r"^\.\. (?:post|meta)::[^\n]*\n(?:[ \t]+\S[^\n]*\n)*", re.MULTILINE)
_REVISION = re.compile(
    r"(?:v?\d[\w.]*,[ ]*)?(?:(?P<day>\d{4}-\d{2}-\d{2})\b.*|(?P<date>[^:]*\d{4})(?::.*)?)"
)
# A paragraph below the title is longer than a name.
_AUTHOR = re.compile(
    r"[ ]*([^\W\d_][^\s<>:;]*(?:[ ]+[^\s<>:;]+){0,5})(?<![.!?])[ ]*(?:<[^<>]*>)?[ ]*"
)
_ASCIIDOC_HEADER = re.compile(
    r"\A(?:[ \t]*\n|//[^\n]*\n|:[^\n]*\n)*[=#] \S[^\n]*\n(?P<lines>(?:[^\n]*\S[^\n]*\n)+)"
)
_BLOCK = re.compile(r"[ \t]*#\+(begin|end)_", re.IGNORECASE)
_PREFIX = re.compile(r"(?:export_)?(?:hugo_|page-|jekyll-|jbake-)?")
_EXPORTED_OBJECT = re.compile(
    r"^export\s+(?:const|let|var)\s+\w+[^=\n]*=\s*\{(.*?)\}", re.DOTALL | re.MULTILINE
)
_MEMBER = re.compile(r"[\"']?(\w+)[\"']?\s*:\s*([\"'`]?)(.*?)\2\s*(?:,|\n|$)")

Field = tuple[str, str]


def read_native_fields(text: str, suffix: str) -> dict[str, Any]:
    """Return the fields written in the format's own markup, with lower-case keys.

    If several fields share a name, a field that hides the post takes precedence over the first.
    """
    if suffix == "rst":
        entries = _read_rst_fields(text)
    elif suffix == "org":
        entries = _read_org_fields(text)
    elif suffix in ASCIIDOC_SUFFIXES:
        entries = _read_asciidoc_fields(text)
    elif suffix == "mdx":
        entries = _read_mdx_fields(text)
    else:
        return {}
    fields: dict[str, Any] = {}
    for key, value in entries:
        name = _PREFIX.sub("", key.lower(), count=1) or key.lower()
        # In all these formats, a field without a value is a flag.
        text_value = value.strip() or ("true" if parse_hiding_line(f"{name}: true") else "")
        if text_value and (name not in fields or parse_hiding_line(f"{name}: {text_value}")):
            fields[name] = text_value
    if "filetags" in fields:
        fields["tags"] = [tag for tag in str(fields.pop("filetags")).split(":") if tag.strip()]
    if "date" in fields:
        fields["date"] = re.sub(r"[\\<>\[\]]", "", str(fields["date"])).strip()
    return fields


def _read_head_lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()[:_MAX_LINES]]


def _read_rst_fields(text: str) -> Iterator[Field]:
    """Yield the fields before the first paragraph, including those in comments."""
    lines = [*_read_head_lines(text), ""]
    pending_field: Field | None = None
    in_comment = False
    for line, next_line in zip(lines, [*lines[1:], ""], strict=True):
        is_indented = line.startswith((" ", "\t"))
        candidate = line.strip() if in_comment else line  # `.. meta::` has indented fields
        match = _FIELD.fullmatch(candidate) or _NIKOLA.fullmatch(line)
        is_continued = is_indented and line.strip() and match is None
        if pending_field is not None and not is_continued:
            yield pending_field
            pending_field = None
        if match is not None:
            pending_field, in_comment = (match[1], match[2] or ""), in_comment and is_indented
        elif is_indented and pending_field is not None:
            pending_field = (pending_field[0], f"{pending_field[1]} {line.strip()}")
        elif _COMMENT.fullmatch(line):
            in_comment = True
            if post := _ABLOG_POST.fullmatch(line):
                yield "date", post[1]
        elif line and not (
            (is_indented and in_comment)
            or _ADORNMENT.fullmatch(line)
            or _ADORNMENT.fullmatch(next_line)
        ):
            return


def remove_rst_fields(text: str) -> str:
    """Return reStructuredText without ablog's `post` and `meta` blocks, which pandoc prints."""
    return _RST_DIRECTIVE.sub("", text)


def _read_asciidoc_fields(text: str) -> Iterator[Field]:
    """Yield the attributes before the first paragraph, and the author and revision lines."""
    is_below_title = may_name_author = in_comment = False
    for line in _read_head_lines(text):
        if line.startswith("////"):
            in_comment = not in_comment
        elif in_comment or line.startswith("//"):
            continue
        elif not line:
            is_below_title = False
        elif match := _FIELD.fullmatch(line):
            yield match[1], match[2] or ""
        elif re.match(r"[=#] \S", line):
            yield "title", line[2:].strip()
            is_below_title = may_name_author = True
        elif is_below_title and (revision := _REVISION.fullmatch(line)):
            yield "date", revision["day"] or revision["date"]
        elif is_below_title:  # attributes may follow a line of the header that is not known
            if may_name_author and (names := _parse_author_names(line)):
                yield "author", ", ".join(names)
            may_name_author = False
        elif not line.startswith(":!") and not line.endswith("!:"):
            return


def remove_asciidoc_bylines(text: str) -> str:
    """Return an AsciiDoc page without the author and revision lines of its header, nor comments.

    pandoc takes a revision line that is only a date for the first paragraph, and so the attributes
    below it.
    """
    header = _ASCIIDOC_HEADER.match(text)
    if header is None:
        return text
    kept: list[str] = []
    may_name_author = is_header = True
    for line in header["lines"].splitlines(keepends=True):
        is_author = may_name_author and bool(_parse_author_names(line.strip()))
        is_byline = is_author or bool(_REVISION.fullmatch(line.strip()))
        may_name_author = may_name_author and not is_byline
        if is_header and not is_byline and not line.startswith((":", "//")):
            is_header = False
            kept.append("\n")  # pandoc takes a paragraph below the title for the author
        if not is_header or line.startswith(":"):
            kept.append(line)
    return text[: header.start("lines")] + "".join(kept) + text[header.end() :]


def _parse_author_names(line: str) -> list[str]:
    matches = [_AUTHOR.fullmatch(part) for part in line.split(";")]
    return [match[1] for match in matches if match] if all(matches) else []


def _read_mdx_fields(text: str) -> Iterator[Field]:
    """Yield the members of objects (`export const meta = {…}`) before the first code block."""
    for object_match in _EXPORTED_OBJECT.finditer(
        text[:_MAX_EXPORT_CHARACTERS].partition("```")[0]
    ):
        for member_match in _MEMBER.finditer(object_match[1]):
            yield member_match[1], member_match[3]


def _read_org_fields(text: str) -> Iterator[Field]:
    """Yield the keywords and drawers outside blocks.

    Below the first headline, a field that hides one section hides the whole text.
    """
    in_block = is_below_headline = False
    for line in text.splitlines():
        if block := _BLOCK.match(line):
            in_block = block[1].lower() == "begin"
            continue
        is_below_headline = is_below_headline or line.startswith("* ")
        match = _KEYWORD.fullmatch(line.strip()) or _FIELD.fullmatch(line.strip())
        if in_block or match is None:
            continue
        name = _PREFIX.sub("", match[1].lower(), count=1)
        if not is_below_headline or parse_hiding_line(f"{name}: {match[2] or 'true'}"):
            yield match[1], match[2] or ""
