"""Detect template files: a site's page templates, and templates for new notes.

Scope: detection by content.
Out of scope: folders that are recognized by name (`site_layout`), and template tags within a post
(`jekyll_liquid`, `hugo_shortcodes`).

Marks: https://jinja.palletsprojects.com/en/stable/templates/,
https://pkg.go.dev/text/template, https://help.obsidian.md/plugins/templates,
https://silentvoid13.github.io/Templater/.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.corpus.importers.code_regions import split_code_regions

# Tags that occur only in page templates. A post that quotes such a tag formats it as code.
_PAGE_TEMPLATE_TAG = re.compile(
    r"\{%[-+]?\s*(?:extends|block|include|for|if|macro|load|import|from|set|assign|unless)\b"
    r"|\{\{-?\s*(?:block|define|template|partial|range|with|if|end|#each|#if|>|\.[A-Z]|site\.|page\.)"
    r"|<\?php|<%[=@#-]"
)
# A placeholder for a note's title or date, which Obsidian, Templater, Hexo or Hugo replaces.
_NOTE_TEMPLATE_FIELD = re.compile(
    r"<%[-_*+]?\s*tp\.|^\"?(?:title|date|created|updated)\"?[ \t]*[:=][ \t]*[\"']?\{\{.{0,80}?\}\}",
    re.MULTILINE,
)
_HEAD_CHARACTERS = 1_000


def is_template(text: str, *, markup: str) -> bool:
    """Return whether a file, including its front matter, is a template.

    Args:
        text: the whole file, from a site whose generator does not resolve such tags in posts.
        markup: `html` for a page; any other value for a note.
    """
    if markup != "html":
        match = _NOTE_TEMPLATE_FIELD.search(text[:_HEAD_CHARACTERS])
        return match is not None and not text[: match.start()].count("```") % 2
    if not _PAGE_TEMPLATE_TAG.search(text):
        return False
    return any(
        _PAGE_TEMPLATE_TAG.search(part)
        for part, is_code in split_code_regions(text, markup=markup)
        if not is_code
    )
