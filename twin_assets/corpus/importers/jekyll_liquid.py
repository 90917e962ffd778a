"""Remove the layout's Liquid tags from a Jekyll post, but keep quoted code and the author's words.

Scope: the replacement of each tag in a post.
Out of scope: which posts are Jekyll's (`folders`), `{% highlight %}` (`code_blocks`, which cleaning
uses), running templates: a tag's output depends on the site and is not the author's text.

Tags: https://shopify.github.io/liquid/ and https://jekyllrb.com/docs/liquid/tags/; `codeblock` and
`blockquote` are from Octopress. A `{% raw %}` block is quoted code, so its contents stay as they
are.
"""
# pyright: strict

from __future__ import annotations

import re
from dataclasses import dataclass, field

from twin_assets.corpus.importers.code_regions import code_regions

_MAX_TAG_CHARACTERS = 2_000
_RAW_MARK = re.compile(r"\{%-?\s*(?:end)?raw\s*-?%\}")
_END_OF_RAW = re.compile(r"\{%-?\s*endraw\s*-?%\}")
_TAG = re.compile(r"\{%-?\s*(#|\w*)(.*?)-?%\}", re.DOTALL)
_LITERAL = re.compile(r"\{\{-?\s*(?:\"([^\"]*)\"|'([^']*)')")
_TEMPLATE = re.compile(r"\{[{%]")
# Blocks whose contents are not printed verbatim: comments and output that the site generates.
_UNPRINTED_BLOCKS = frozenset({"comment", "for", "tablerow", "capture"})
_QUOTES = frozenset({"blockquote", "quote"})


@dataclass
class _Reader:
    """State across parts: an open `raw` block, the unprinted blocks, and a quotation's start."""

    markup: str
    parts: list[str] = field(default_factory=list[str])
    is_in_raw: bool = False
    open_unprinted_blocks: list[str] = field(default_factory=list[str])
    quotation_start: int | None = None

    def keep(self, text: str) -> None:
        if not self.open_unprinted_blocks:
            self.parts.append(text)


def remove_liquid(text: str, *, markup: str = "markdown") -> str:
    """Resolve the Liquid of a post's body (`markdown` or `html`); an unfinished tag stays."""
    if not _TEMPLATE.search(text):
        return text
    reader = _Reader(markup)
    for part, is_code in code_regions(text, markup=markup):
        if is_code:
            reader.keep(_strip_raw_marks(part))
        else:
            _remove_tags_from_part(reader, part)
    _close_quotation(reader)
    return "".join(reader.parts)


def _strip_raw_marks(part: str) -> str:
    """Return code without the `raw` marks that prevented Jekyll from running it."""
    unwrapped = _RAW_MARK.sub("", part) if "raw" in part else part
    return re.sub(r"(\{%-?[ \t]*(?:end)?)codeblock\b", r"\1highlight", unwrapped)


def _remove_tags_from_part(reader: _Reader, part: str) -> None:
    position = 0
    while True:
        if reader.is_in_raw:
            position = _keep_raw_code(reader, part, position)
        match = _TEMPLATE.search(part, position)
        if match is None:
            break
        start = match.start()
        closing = "%}" if match[0] == "{%" else "}}"
        end = part.find(closing, start + 2, start + _MAX_TAG_CHARACTERS)
        reader.keep(part[position:start])
        if end < 0:
            reader.keep(part[start : start + 2])
            position = start + 2
            continue
        position = end + 2
        if closing == "%}":
            _apply_tag(reader, part[start:position])
        elif literal := _LITERAL.match(part, start, position):
            reader.keep(literal[1] or literal[2] or "")
    reader.keep(part[position:])


def _keep_raw_code(reader: _Reader, part: str, position: int) -> int:
    """Keep quoted code up to the end of its block or of this part; return the next position."""
    end = _END_OF_RAW.search(part, position)
    quoted = part[position : end.start() if end else len(part)]
    reader.is_in_raw = end is None
    # Quoted template text in a sentence becomes a code span, which cleaning keeps. A block that
    # began in an earlier part (position 0) contains code blocks.
    span = quoted.strip()
    if end and position and _TEMPLATE.search(span) and "`" not in span and "\n" not in span:
        quoted = f"`{span}`" if reader.markup == "markdown" else f"<code>{span}</code>"
    reader.keep(quoted)
    return end.end() if end else len(part)


def _apply_tag(reader: _Reader, tag: str) -> None:
    match = _TAG.fullmatch(tag)
    name = match[1] if match else ""
    closed_block = name[3:] if name.startswith("end") else ""
    if name == "raw":
        reader.is_in_raw = True
    elif name in _UNPRINTED_BLOCKS:
        reader.open_unprinted_blocks.append(name)
    elif closed_block in reader.open_unprinted_blocks:
        while reader.open_unprinted_blocks.pop() != closed_block:
            pass
    elif name in _QUOTES and reader.quotation_start is None and not reader.open_unprinted_blocks:
        reader.quotation_start = len(reader.parts)
    elif closed_block in _QUOTES:
        _close_quotation(reader)


def _close_quotation(reader: _Reader) -> None:
    if reader.quotation_start is not None:
        words = "".join(reader.parts[reader.quotation_start :])
        reader.parts[reader.quotation_start :] = [mark_as_quotation(words, markup=reader.markup)]
        reader.quotation_start = None


def mark_as_quotation(words: str, *, markup: str) -> str:
    """Return someone else's words marked as a quotation in Markdown or HTML."""
    if markup == "html":
        return f"<blockquote>{words}</blockquote>"
    lines = words.strip("\n").split("\n")
    return "\n\n" + "\n".join(f"> {line}".rstrip() for line in lines) + "\n\n"
