"""Remove the layout shortcodes from a Hugo post, but keep quoted code and the author's words.

Scope: the replacement of each shortcode in a post.
Out of scope: which posts are Hugo's (`folders`), `{{< highlight >}}` (`code_blocks`, which cleaning
uses), running templates.

Grammar: https://gohugo.io/content-management/shortcodes/. Hugo quotes a shortcode as
`{{</* name */>}}`. A shortcode whose name ends in `.inline` has template code between its tags.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.corpus.importers.code_regions import code_regions
from twin_assets.corpus.importers.jekyll_liquid import mark_as_quotation

_MAX_TAG_CHARACTERS = 2_000
_OPENING = re.compile(r"\{\{([<%])")
_QUOTED = re.compile(r"(\{\{[<%])/\*(.{0,2000}?)\*/([%>]\}\})", re.DOTALL)
_NAME = re.compile(r"\{\{[<%]\s*(/?)\s*([\w./-]*)")
_QUOTES = frozenset({"blockquote", "quote"})


def remove_shortcodes(text: str, *, markup: str = "markdown") -> str:
    """Resolve the shortcodes of a post's body (`markdown` or `html`); an unfinished one stays."""
    if not _OPENING.search(text):
        return text
    parts: list[str] = []
    open_inline_shortcode = ""
    quotation_start: int | None = None
    code_template = "`{}`" if markup == "markdown" else "<code>{}</code>"
    for part, is_code in code_regions(text, markup=markup):
        if is_code:
            parts += [] if open_inline_shortcode else [_QUOTED.sub(r"\1\2\3", part)]
            continue
        position = 0
        while match := _OPENING.search(part, position):
            start = match.start()
            end = _end_of_tag(part, start, mark=match[1])
            if not open_inline_shortcode:
                parts.append(part[position : start if end else match.end()])
            position = end or match.end()
            if not end:
                continue
            tag = part[start:end]
            if quoted := _QUOTED.fullmatch(tag):
                parts += (
                    []
                    if open_inline_shortcode
                    else [code_template.format(quoted[1] + quoted[2] + quoted[3])]
                )
                continue
            is_closing, name = _parse_tag(tag)
            if open_inline_shortcode:
                open_inline_shortcode = (
                    "" if is_closing and name == open_inline_shortcode else open_inline_shortcode
                )
            elif (
                name.endswith(".inline") and not is_closing and not tag.rstrip("}>%").endswith("/")
            ):
                open_inline_shortcode = name
            elif name in _QUOTES and not is_closing and quotation_start is None:
                quotation_start = len(parts)
            elif name in _QUOTES and is_closing and quotation_start is not None:
                words = "".join(parts[quotation_start:])
                parts[quotation_start:] = [mark_as_quotation(words, markup=markup)]
                quotation_start = None
        if not open_inline_shortcode:
            parts.append(part[position:])
    return "".join(parts)


def _parse_tag(tag: str) -> tuple[bool, str]:
    match = _NAME.match(tag)
    return (bool(match[1]), match[2]) if match else (False, "")


def _end_of_tag(part: str, start: int, *, mark: str) -> int | None:
    closing = ">}}" if mark == "<" else "%}}"
    end = part.find(closing, start + 3, start + _MAX_TAG_CHARACTERS)
    if (
        end < 0 or part.find("{{" + mark, start + 3, end) >= 0
    ):  # unfinished: the next tag begins before its end
        return None
    return end + 3
