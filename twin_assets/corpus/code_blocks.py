"""Handle code in a post: fenced blocks, and the highlight tags of site generators.

Scope: finding, fencing and removing code. Out of scope: cleaning the prose around it, and
detecting its language.
Tags: https://jekyllrb.com/docs/liquid/tags/, https://gohugo.io/shortcodes/highlight/

All functions take linear time. A single pattern from a tag to its end tag would take hours on a
megabyte of unclosed tags.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# {% highlight c %} … {% endhighlight %} (Jekyll), {{< highlight c >}} … {{< /highlight >}} (Hugo)
_HIGHLIGHT_START = re.compile(
    r"\{(?:%-?|\{[<%])[ \t]*highlight[ \t]+([\w+#-]{0,40})[^%>}\n]{0,200}(?:-?%|[%>]\})\}"
    r"[ \t]*\n?"
)
_HIGHLIGHT_END = re.compile(r"\{(?:%-?|\{[<%])[ \t]*(?:/[ \t]*|end)highlight[ \t]*(?:-?%|[%>]\})\}")
_FENCE_IN_CODE = re.compile(r"^[ \t]*(`{3,})", re.MULTILINE)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


def replace_highlights(text: str, replacement: Callable[[str, str], str]) -> str:
    """Replace each highlight tag pair with `replacement(code, language)`; keep unclosed tags."""
    pieces: list[str] = []
    position = 0
    while start_tag := _HIGHLIGHT_START.search(text, position):
        end_tag = _HIGHLIGHT_END.search(text, start_tag.end())
        if end_tag is None:
            break
        code = text[start_tag.end() : end_tag.start()].rstrip(" \t").removesuffix("\n")
        pieces += [text[position : start_tag.start()], replacement(code, start_tag[1])]
        position = end_tag.end()
    return "".join([*pieces, text[position:]])


def fence_code(code: str, language: str = "") -> str:
    """Return a fenced code block with a fence longer than any backtick run that could close it."""
    longest_run = max(map(len, _FENCE_IN_CODE.findall(code)), default=2) if "```" in code else 2
    fence = "`" * (longest_run + 1)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def iter_prose_lines(markdown: str) -> Iterator[tuple[int, str]]:
    """Yield the index (from 0) and the text of every line outside fenced blocks."""
    fence = ""
    for index, line in enumerate(markdown.split("\n")):
        match = _FENCE.match(line)
        if not fence:
            fence = match[1] if match else ""
            if not match:
                yield index, line
        elif match and match[1].startswith(fence) and not line[match.end() :].strip():
            fence = ""


def remove_code(markdown: str) -> str:
    """Return Markdown without its fenced blocks and inline code."""
    prose = "\n".join(line for _, line in iter_prose_lines(markdown))
    return re.sub(r"`[^`\n]*`", " ", prose)
