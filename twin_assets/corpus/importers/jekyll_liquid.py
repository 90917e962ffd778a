"""Remove the layout's Liquid tags from a Jekyll post, but keep quoted code and the author's words.

Scope: the replacement of each tag in a post.
Out of scope: which posts are Jekyll's (`folders`), `{% highlight %}` (cleaning handles it with
`code_blocks`), and running templates. A tag's output depends on the site and is not the author's
text.

Tags: https://shopify.github.io/liquid/ and https://jekyllrb.com/docs/liquid/tags/; `codeblock` and
`blockquote` are from Octopress. A `{% raw %}` block is quoted code, so its contents stay unchanged.
"""
# pyright: strict

from __future__ import annotations

import re
from dataclasses import dataclass, field

from twin_assets.corpus.importers.code_regions import split_code_regions

_MAX_TAG_CHARACTERS = 2_000
_RAW_MARK = re.compile(r"\{%-?\s*(?:end)?raw\s*-?%\}")
_RAW_END = re.compile(r"\{%-?\s*endraw\s*-?%\}")
_TAG = re.compile(r"\{%-?\s*(#|\w*)(.*?)-?%\}", re.DOTALL)
_LITERAL = re.compile(r"\{\{-?\s*(?:\"([^\"]*)\"|'([^']*)')")
_TEMPLATE = re.compile(r"\{[{%]")
# Blocks whose contents are not printed verbatim: comments and output that the site generates.
_UNPRINTED_BLOCKS = frozenset({"comment", "for", "tablerow", "capture"})
QUOTES = frozenset({"blockquote", "quote"})
"""Tags around someone else's words."""


@dataclass
class TemplateOutput:
    """The text kept so far, any open blocks, and the index in `parts` where a quotation begins."""

    markup: str
    parts: list[str] = field(default_factory=list[str])
    is_in_raw_block: bool = False
    unprinted_blocks: list[str] = field(default_factory=list[str])
    quotation_start: int | None = None

    def append(self, text: str) -> None:
        """Append a text, unless it is in a block that is not printed."""
        if not self.unprinted_blocks:
            self.parts.append(text)

    def format_code_span(self, code: str) -> str:
        """Return quoted template text as code, which cleaning keeps."""
        return f"`{code}`" if self.markup == "markdown" else f"<code>{code}</code>"

    def open_quotation(self) -> None:
        """Begin a quotation, unless one is open."""
        if self.quotation_start is None and not self.unprinted_blocks:
            self.quotation_start = len(self.parts)

    def close_quotation(self) -> None:
        """Mark someone else's words as a quotation in Markdown or HTML, if one is open."""
        if self.quotation_start is None:
            return
        words = "".join(self.parts[self.quotation_start :])
        lines = "\n".join(f"> {line}".rstrip() for line in words.strip("\n").split("\n"))
        is_html = self.markup == "html"
        marked_words = f"<blockquote>{words}</blockquote>" if is_html else f"\n\n{lines}\n\n"
        self.parts[self.quotation_start :] = [marked_words]
        self.quotation_start = None


def remove_liquid(text: str, *, markup: str = "markdown") -> str:
    """Remove the Liquid tags from a post's body (`markdown` or `html`); keep unfinished tags."""
    if not _TEMPLATE.search(text):
        return text
    output = TemplateOutput(markup)
    for part, is_code in split_code_regions(text, markup=markup):
        if is_code:
            output.append(_strip_raw_marks(part))
        else:
            _remove_tags_from_part(output, part)
    output.close_quotation()
    return "".join(output.parts)


def _strip_raw_marks(part: str) -> str:
    """Return code without the `raw` marks that prevented Jekyll from running it."""
    code = _RAW_MARK.sub("", part) if "raw" in part else part
    return re.sub(r"(\{%-?[ \t]*(?:end)?)codeblock\b", r"\1highlight", code)


def _remove_tags_from_part(output: TemplateOutput, part: str) -> None:
    position = 0
    while True:
        if output.is_in_raw_block:
            position = _keep_raw_code(output, part, position)
        match = _TEMPLATE.search(part, position)
        if match is None:
            break
        start = match.start()
        closing_mark = "%}" if match[0] == "{%" else "}}"
        end = part.find(closing_mark, start + 2, start + _MAX_TAG_CHARACTERS)
        output.append(part[position:start])
        if end < 0:
            output.append(part[start : start + 2])
            position = start + 2
            continue
        position = end + 2
        if closing_mark == "%}":
            _apply_tag(output, part[start:position])
        elif literal := _LITERAL.match(part, start, position):
            output.append(literal[1] or literal[2] or "")
    output.append(part[position:])


def _keep_raw_code(output: TemplateOutput, part: str, position: int) -> int:
    """Keep quoted code up to the end of its block or of this part, and return the next position."""
    end = _RAW_END.search(part, position)
    quoted_code = part[position : end.start() if end else len(part)]
    output.is_in_raw_block = end is None
    # Quoted template text in a sentence becomes a code span, which cleaning keeps. A block that
    # began in an earlier part (position 0) contains code blocks.
    span = quoted_code.strip()
    if end and position and _TEMPLATE.search(span) and "`" not in span and "\n" not in span:
        quoted_code = output.format_code_span(span)
    output.append(quoted_code)
    return end.end() if end else len(part)


def _apply_tag(output: TemplateOutput, tag: str) -> None:
    match = _TAG.fullmatch(tag)
    name = match[1] if match else ""
    closed_block = name[3:] if name.startswith("end") else ""
    if name == "raw":
        output.is_in_raw_block = True
    elif name in _UNPRINTED_BLOCKS:
        output.unprinted_blocks.append(name)
    elif closed_block in output.unprinted_blocks:
        while output.unprinted_blocks.pop() != closed_block:
            pass
    elif name in QUOTES:
        output.open_quotation()
    elif closed_block in QUOTES:
        output.close_quotation()
