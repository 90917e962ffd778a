"""Split a post into prose and code: template tags in code are text, not layout.

Fences, indented code and code spans follow https://spec.commonmark.org/0.31.2/ as far as template
tags require it. Code that is never closed goes on to the end, so no search is repeated.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

# Elements, and the tags of `code_blocks.replace_highlights`.
_ELEMENTS = (
    r"<(?P<element>pre|code|script|style)\b.*?(?:</(?P=element)[ \t]*>|\Z)"
    r"|\{%-?[ \t]*(?P<liquid>highlight|codeblock)\b.*?(?:\{%-?[ \t]*end(?P=liquid)[ \t]*-?%\}|\Z)"
    r"|\{\{[<%][ \t]*highlight\b.*?(?:\{\{[<%][ \t]*/[ \t]*highlight[ \t]*[%>]\}\}|\Z)"
)
_FENCES = (
    r"^[ \t]*(?:>[ \t]?)*[ \t]*(?P<fence>`{3,}(?=[^`\n]*$)|~{3,})"
    r".*?(?:^[ \t]*(?:>[ \t]?)*[ \t]*(?P=fence)[`~]*[ \t]*\r?(?:\n|\Z)|\Z)"
    r"|(?:(?<=\n\n)|\A)(?:(?: {4}|\t)[^\n]*\S[^\n]*(?:\n|\Z)(?:[ \t]*\n)*)+"
)
# A code span ends within its paragraph.
_SPANS = (
    r"(?<!`)(?:`(?:[^`\n]|\n(?!\n)){1,2000}`"
    r"|(?P<ticks>`{2,4})(?!`)(?:[^`\n]|`(?!`)|\n(?!\n)){1,2000}?(?<!`)(?P=ticks))(?!`)"
)
CODE: Mapping[str, str] = {
    "markdown": rf"{_FENCES}|{_SPANS}|{_ELEMENTS}",
    "html": _ELEMENTS,
}
"""Regular expressions for code by markup, for `re.DOTALL | re.MULTILINE | re.IGNORECASE`."""

FLAGS = re.DOTALL | re.MULTILINE | re.IGNORECASE
_CODE = {markup: re.compile(pattern, FLAGS) for markup, pattern in CODE.items()}


def split_code_regions(text: str, *, markup: str = "markdown") -> Iterator[tuple[str, bool]]:
    """Yield the parts of `text` in order with a flag for code; joined, they equal `text`.

    Args:
        text: a body without front matter.
        markup: `markdown`, or `html`, which has elements and tags but no fences and spans.
    """
    position = 0
    for code in _CODE["html" if markup == "html" else "markdown"].finditer(text):
        if code.start() > position:
            yield text[position : code.start()], False
        yield code[0], True
        position = code.end()
    if position < len(text):
        yield text[position:], False
