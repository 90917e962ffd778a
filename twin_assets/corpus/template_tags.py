"""Template tags, kramdown attributes and footnote marks in a line of prose: none of them is words.

Belongs here: what Markdown and HTML posts share of them. Does not belong here: template tags that
mark code (`code_blocks`), tags with words in them (importers).
Tags: https://jekyllrb.com/docs/liquid/tags/, https://gohugo.io/content-management/shortcodes/,
https://kramdown.gettalong.org/syntax.html#inline-attribute-lists
"""
# pyright: strict

from __future__ import annotations

import re

# Their length is bounded: a megabyte of opening marks would else be searched to its end for each.
_TEMPLATE = re.compile(r"\{%.{0,500}?%\}|\{\{[<%].{0,500}?[%>]\}\}|\{:[^{}\n]{0,200}\}", re.DOTALL)
_FOOTNOTE_MARK = re.compile(r"\[\^[^\[\]\s]{1,100}\]:?[ \t]?")


def without_template_tags(text: str) -> str:
    """Prose without them; the very object that was given when it has none."""
    if "[^" in text:
        text = _FOOTNOTE_MARK.sub("", text)
    return _TEMPLATE.sub("", text) if "{" in text else text
