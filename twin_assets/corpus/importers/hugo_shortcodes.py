"""Remove the layout shortcodes from a Hugo post, but keep quoted code and the author's words.

Scope: the replacement of each shortcode in a post.
Out of scope: which posts are Hugo's (`folders`), `{{< highlight >}}` (cleaning handles it with
`code_blocks`), running templates.

Grammar: https://gohugo.io/content-management/shortcodes/. Hugo escapes a shortcode as
`{{</* name */>}}`. A shortcode whose name ends in `.inline` has template code between its tags.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.corpus.importers.code_regions import split_code_regions
from twin_assets.corpus.importers.jekyll_liquid import QUOTES, TemplateOutput

_MAX_TAG_CHARACTERS = 2_000
_OPENING = re.compile(r"\{\{([<%])")
_QUOTED = re.compile(r"(\{\{[<%])/\*(.{0,2000}?)\*/([%>]\}\})", re.DOTALL)
_NAME = re.compile(r"\{\{[<%]\s*(/?)\s*([\w./-]*)")


def remove_shortcodes(text: str, *, markup: str = "markdown") -> str:
    """Remove the shortcodes from a post's body (`markdown` or `html`); keep unfinished ones."""
    if not _OPENING.search(text):
        return text
    output = TemplateOutput(markup)
    for part, is_code in split_code_regions(text, markup=markup):
        if is_code:
            output.append(_QUOTED.sub(r"\1\2\3", part))
            continue
        position = 0
        while match := _OPENING.search(part, position):
            start = match.start()
            end = _find_tag_end(part, start, mark=match[1])
            output.append(part[position : start if end else match.end()])
            position = end or match.end()
            if end:
                _apply_shortcode(output, part[start:end])
        output.append(part[position:])
    return "".join(output.parts)


def _apply_shortcode(output: TemplateOutput, tag: str) -> None:
    if quoted := _QUOTED.fullmatch(tag):
        output.append(output.format_code_span("".join(quoted.groups())))
        return
    match = _NAME.match(tag)
    is_closing, name = (bool(match[1]), match[2]) if match else (False, "")
    if output.unprinted_blocks:
        if is_closing and name == output.unprinted_blocks[-1]:
            output.unprinted_blocks.pop()
    elif name.endswith(".inline") and not is_closing and not tag.rstrip("}>%").endswith("/"):
        output.unprinted_blocks.append(name)
    elif name in QUOTES and is_closing:
        output.close_quotation()
    elif name in QUOTES:
        output.open_quotation()


def _find_tag_end(part: str, start: int, *, mark: str) -> int | None:
    closing_mark = ">}}" if mark == "<" else "%}}"
    end = part.find(closing_mark, start + 3, start + _MAX_TAG_CHARACTERS)
    # In an unfinished tag, the next tag begins before the end.
    if end < 0 or part.find("{{" + mark, start + 3, end) >= 0:
        return None
    return end + 3
