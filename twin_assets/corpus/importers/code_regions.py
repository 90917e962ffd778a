"""Split a post into prose and code; template tags in code are text, not layout.

Scope: splitting a Markdown or HTML body before any parser reads it, because a template tag in a
link's target hides the link from the parser.
Out of scope: handling a tag (`jekyll_liquid`, `hugo_shortcodes`), cleaning.

Fences, indented code and code spans follow https://spec.commonmark.org/0.31.2/ as far as template
tags require it. The run time is proportional to the length of the text.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator

_FENCE = re.compile(r"[ \t]*(?:>[ \t]?)*[ \t]*(`{3,}|~{3,})")
_INDENTED = re.compile(r"(?: {4}|\t)")
# Marks that can begin code within a line, including the tags of `code_blocks.replace_highlights`.
_TAGS = (
    r"<(?P<element>pre|code|script|style)\b"
    r"|\{%-?[ \t]*(?P<liquid>highlight|codeblock)\b"
    r"|\{\{[<%][ \t]*(?P<shortcode>highlight)\b"
)
_CODE_START = re.compile(rf"(?P<ticks>`+)|{_TAGS}", re.IGNORECASE)
_HTML_CODE_START = re.compile(rf"(?P<ticks>(?!))|{_TAGS}", re.IGNORECASE)
# A code span ends within its paragraph; otherwise it is not a code span.
_MAX_SPAN_CHARACTERS = 2_000


def split_code_regions(text: str, *, markup: str = "markdown") -> Iterator[tuple[str, bool]]:
    """Yield the parts of `text` in order with a flag for code; joined, they equal `text`.

    Args:
        text: a body without front matter.
        markup: `markdown`, or `html`, which has elements and tags but no fences and spans.
    """
    if markup == "html":
        yield from _split_prose(text, _HTML_CODE_START)
        return
    position = start = 0
    is_after_blank_line = True
    while position < len(text):
        end = text.find("\n", position) + 1 or len(text)
        line = text[position:end]
        fence = _FENCE.match(line)
        if fence and not (fence[1][0] == "`" and "`" in line[fence.end() :]):
            yield from _split_prose(text[start:position])
            start = position = _find_fence_end(text, end, mark=fence[1])
            yield text[end - len(line) : position], True
        elif _INDENTED.match(line) and line.strip() and is_after_blank_line:
            yield from _split_prose(text[start:position])
            start = position = _find_indented_code_end(text, end)
            yield text[end - len(line) : position], True
        else:
            is_after_blank_line = not line.strip()
            position = end
    yield from _split_prose(text[start:])


def _find_fence_end(text: str, position: int, *, mark: str) -> int:
    closing_pattern = re.compile(
        rf"^[ \t]*(?:>[ \t]?)*[ \t]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*\r?$", re.MULTILINE
    )
    match = closing_pattern.search(text, position)
    return min(match.end() + 1, len(text)) if match else len(text)


def _find_indented_code_end(text: str, position: int) -> int:
    while position < len(text):
        end = text.find("\n", position) + 1 or len(text)
        if not _INDENTED.match(text, position, end) and text[position:end].strip():
            break
        position = end
    return position


def _split_prose(
    text: str, start_pattern: re.Pattern[str] = _CODE_START
) -> Iterator[tuple[str, bool]]:
    """Split text outside code blocks: spans, elements and highlight tags are code."""
    position = start = 0
    unclosed_tags: set[str] = set()  # otherwise, each opening tag would search to the end
    while code_start := start_pattern.search(text, position):
        tag_name = (
            code_start["element"] or code_start["liquid"] or code_start["shortcode"] or ""
        ).lower()
        end = None if tag_name in unclosed_tags else _find_code_end(code_start, text)
        if end is None:
            position = code_start.end()
            unclosed_tags |= {tag_name} - {""}
            continue
        if code_start.start() > start:
            yield text[start : code_start.start()], False
        yield text[code_start.start() : end], True
        start = position = end
    if start < len(text):
        yield text[start:], False


def _find_code_end(code_start: re.Match[str], text: str) -> int | None:
    """Return the end of the code that starts at this match, or None if it never ends."""
    if ticks := code_start["ticks"]:
        return _find_span_end(text, code_start.end(), width=len(ticks))
    if element := code_start["element"]:
        closing_pattern = re.compile(rf"</{element}[ \t]*>", re.IGNORECASE)
    elif name := code_start["liquid"]:
        closing_pattern = re.compile(rf"\{{%-?[ \t]*end{name}[ \t]*-?%\}}", re.IGNORECASE)
    else:
        closing_pattern = re.compile(r"\{\{[<%][ \t]*/[ \t]*highlight[ \t]*[%>]\}\}", re.IGNORECASE)
    match = closing_pattern.search(text, code_start.end())
    return match.end() if match else None


def _find_span_end(text: str, position: int, *, width: int) -> int | None:
    limit = min(len(text), position + _MAX_SPAN_CHARACTERS)
    paragraph_end = text.find("\n\n", position, limit)
    limit = paragraph_end if paragraph_end >= 0 else limit
    while (position := text.find("`" * width, position, limit)) >= 0:
        end = position + width
        while text[end : end + 1] == "`":
            end += 1
        if end - position == width:
            return end
        position = end
    return None
