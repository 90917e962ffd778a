"""Escape untrusted text so that a browser does not interpret it as markup.

Scope: escaping for HTML and for Markdown. Out of scope: choosing the texts (`footnotes.py`,
`turns.py`).
Source: CommonMark on code spans and fenced blocks, https://spec.commonmark.org/0.31.2/#code-spans
"""
# pyright: strict

from __future__ import annotations

import html
import re

# Fences come first, because a backtick inside a fenced block does not start a code span. An
# unclosed fence extends to the end of the text.
_MARKDOWN = re.compile(
    r"(?:^ {0,3}(?P<fence>`{3,}|~{3,}).*?(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z))"
    r"|\\[!-/:-@\[-`{-~]"  # a backslash escape; Markdown shows `\<` as `<`
    r"|(?:(?P<span>(?<!`)`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)(?P=span)(?!`))"
    r"|(?P<sign>[<&])",
    re.MULTILINE | re.DOTALL,
)
_HTML_ENTITIES = {"<": "&lt;", "&": "&amp;"}


def escape_html(text: object) -> str:
    """Escape text for the content of an HTML element or a quoted attribute."""
    return html.escape(str(text), quote=True)


def escape_markdown(text: str) -> str:
    """Escape Markdown so that `<author>` appears as text; code stays unchanged.

    Inside code, Markdown shows `<` literally and would also show an entity literally.
    """
    return _MARKDOWN.sub(lambda match: _HTML_ENTITIES.get(match["sign"] or "", match[0]), text)


def http_url_or_empty(url: str) -> str:
    """Return a URL with the scheme http or https unchanged, and "" for any other URL."""
    return url if url.startswith(("https://", "http://")) else ""
