"""Remove the shortcodes of a Hugo post's layout, and keep quoted code and the author's words.

Scope: the replacement of each shortcode in a post.
Out of scope: which posts are Hugo's (`folders`), `{{< highlight >}}` (`code_blocks`, which cleaning
reads), running templates.

Grammar: https://gohugo.io/content-management/shortcodes/. `{{</* name */>}}` is how Hugo quotes a
shortcode; a shortcode whose name ends in `.inline` holds template code between its tags.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.corpus.importers.code_regions import code_regions
from twin_assets.corpus.importers.jekyll_liquid import as_quotation

_MAX_TAG = 2_000
_OPENING = re.compile(r"\{\{([<%])")
_QUOTED = re.compile(r"(\{\{[<%])/\*(.{0,2000}?)\*/([%>]\}\})", re.DOTALL)
_NAME = re.compile(r"\{\{[<%]\s*(/?)\s*([\w./-]*)")
_QUOTES = frozenset({"blockquote", "quote"})


def without_shortcodes(text: str, *, markup: str = "markdown") -> str:
    """Resolve the shortcodes of a post's body (`markdown` or `html`); an unfinished one stays."""
    if not _OPENING.search(text):
        return text
    out: list[str] = []
    hidden = ""
    quoted_from: int | None = None
    code = "`{}`" if markup == "markdown" else "<code>{}</code>"
    for part, is_code in code_regions(text, markup=markup):
        if is_code:
            out += [] if hidden else [_QUOTED.sub(r"\1\2\3", part)]
            continue
        position = 0
        while match := _OPENING.search(part, position):
            start = match.start()
            end = _end_of_tag(part, start, mark=match[1])
            if not hidden:
                out.append(part[position : start if end else match.end()])
            position = end or match.end()
            if not end:
                continue
            tag = part[start:end]
            if quoted := _QUOTED.fullmatch(tag):
                out += [] if hidden else [code.format(quoted[1] + quoted[2] + quoted[3])]
                continue
            closes, name = _name(tag)
            if hidden:
                hidden = "" if closes and name == hidden else hidden
            elif name.endswith(".inline") and not closes and not tag.rstrip("}>%").endswith("/"):
                hidden = name
            elif name in _QUOTES and not closes and quoted_from is None:
                quoted_from = len(out)
            elif name in _QUOTES and closes and quoted_from is not None:
                words = "".join(out[quoted_from:])
                out[quoted_from:] = [as_quotation(words, markup=markup)]
                quoted_from = None
        if not hidden:
            out.append(part[position:])
    return "".join(out)


def _name(tag: str) -> tuple[bool, str]:
    match = _NAME.match(tag)
    return (bool(match[1]), match[2]) if match else (False, "")


def _end_of_tag(part: str, start: int, *, mark: str) -> int | None:
    closing = ">}}" if mark == "<" else "%}}"
    end = part.find(closing, start + 3, start + _MAX_TAG)
    if end < 0 or part.find("{{" + mark, start + 3, end) >= 0:  # another tag begins: unfinished
        return None
    return end + 3
