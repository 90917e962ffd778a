"""Remove template tags, kramdown attributes and footnote marks from prose.

Scope: removal from Markdown and HTML posts. Out of scope: template tags that mark code
(`code_blocks`), tags that contain words (importers).
Tags: https://jekyllrb.com/docs/liquid/tags/, https://gohugo.io/content-management/shortcodes/,
https://kramdown.gettalong.org/syntax.html#inline-attribute-lists,
https://pkg.go.dev/text/template, https://mozilla.github.io/nunjucks/templating.html
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.corpus.importers.code_regions import split_code_regions

# The length of a tag is bounded, and no tag contains the beginning of another tag. Otherwise, each
# opening mark in a megabyte of such marks would start a search to the end of the text.
_TAGS = r"\{%(?:[^{]|\{(?!%)){0,4000}?%\}|\{\{[<%](?:[^{]|\{(?!\{)){0,4000}?[%>]\}\}"
# `{{ name }}` may stand for itself in a sentence; a call (`{{image "a.png"}}`) and a field
# (`{{ img.caption }}`, `{{ .Title | safe }}`) do not.
_EXPRESSIONS = (
    r"\{\{-?[ \t]*[A-Za-z][\w.-]{0,60}[ \t(]{1,9}[\"'`](?:[^{}]|\{(?!\{)|\}(?!\})){0,2000}\}\}"
    r"|\{\{-?[ \t]*(?:[A-Za-z]\w{0,60}(?:\.\w{1,60}){1,9}|\.[A-Z]\w{0,60}(?:\.\w{1,60}){0,9})"
    r"[ \t]*(?:\|[^{}]{0,500})?-?\}\}"
)
TEMPLATE_TAG = re.compile(rf"{_TAGS}|{_EXPRESSIONS}|\{{:[^{{}}\n]{{0,200}}\}}")
_RAW_TAG = re.compile(
    r"\{\{-?[ \t]*raw[ \t]+(?:\"([^\"\n]{0,2000})\"|`([^`]{0,20000})`)[ \t]*-?\}\}"
)
_FOOTNOTE_MARK = re.compile(r"\[\^(?:\d{1,4}|(?:fn|note)[\w-]{0,50})\](?::[ \t]?)?")
_HTML_TEMPLATE_TAG = re.compile(_TAGS)


def replace_raw_tags(source: str) -> str:
    """Return a post in which `{{raw "…"}}` (Go) is the text that it prints, also in code."""
    if "{{" not in source:
        return source
    return _RAW_TAG.sub(lambda tag: str(tag[1] if tag[2] is None else tag[2]), source)


def remove_template_tags(text: str) -> str:
    """Return prose without tags, attributes and footnote marks.

    If there are none, the same object is returned.
    """
    if "[^" in text:
        text = _FOOTNOTE_MARK.sub("", text)
    return TEMPLATE_TAG.sub("", text) if "{" in text else text


def remove_html_template_tags(source: str) -> str:
    """Remove template tags from HTML outside code.

    An HTML parser would read `{{<name>}}` as an element.
    """
    if "{{<" not in source and "{{%" not in source and "{%" not in source:
        return source
    return "".join(
        part if is_code else _HTML_TEMPLATE_TAG.sub("", part)
        for part, is_code in split_code_regions(source, markup="html")
    )
