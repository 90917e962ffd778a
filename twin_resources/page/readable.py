"""Text of other people as a browser shows it: never as markup of the page.

Scope: escaping for HTML and for Markdown. Out of scope: what is shown
(`footnotes.py`, `turns.py`).
Source: CommonMark, code spans and fenced blocks, https://spec.commonmark.org/0.31.2/#code-spans
"""
# pyright: strict

from __future__ import annotations

import html
import re

# Fences first: a backtick inside a block opens no span. Without its end a fence goes to the end.
_MARKDOWN = re.compile(
    r"(?:^ {0,3}(?P<fence>`{3,}|~{3,}).*?(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z))"
    r"|\\[!-/:-@\[-`{-~]"  # a backslash escape: `\<` is shown as `<` already
    r"|(?:(?P<span>(?<!`)`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)(?P=span)(?!`))"
    r"|(?P<sign>[<&])",
    re.MULTILINE | re.DOTALL,
)
_SIGNS = {"<": "&lt;", "&": "&amp;"}


def as_text(text: object) -> str:
    """Text as it stands, for the inside of an HTML element or of a quoted attribute."""
    return html.escape(str(text), quote=True)


def as_markdown(text: str) -> str:
    """Markdown in which `<author>` is shown and is no tag; code stays code.

    In code Markdown shows `<` as it stands, and would show an entity as its letters.
    """
    return _MARKDOWN.sub(lambda match: _SIGNS.get(match["sign"] or "", match[0]), text)


def web_address(url: str) -> str:
    """The address when a click on it may open it: http or https; else empty."""
    return url if url.startswith(("https://", "http://")) else ""
