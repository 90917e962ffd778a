"""Files that a program fills in: a site's templates, and those of notes to come.

Scope: telling them from posts by what they hold. Out of scope: folders that are
known by their names (`site_layout`), template tags within a post (`jekyll_liquid`,
`hugo_shortcodes`).

Marks: https://jinja.palletsprojects.com/en/stable/templates/,
https://pkg.go.dev/text/template, https://help.obsidian.md/plugins/templates,
https://silentvoid13.github.io/Templater/.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.corpus.importers.code_regions import code_regions

# Of a page: what only a template does. A post that shows such a tag shows it as code.
_OF_A_PAGE = re.compile(
    r"\{%[-+]?\s*(?:extends|block|include|for|if|macro|load|import|from|set|assign|unless)\b"
    r"|\{\{-?\s*(?:block|define|template|partial|range|with|if|end|#each|#if|>|\.[A-Z]|site\.|page\.)"
    r"|<\?php|<%[=@#-]"
)
# Of a note: its title or date is still to be written in, by Obsidian, Templater, Hexo or Hugo.
_OF_A_NOTE = re.compile(
    r"<%[-_*+]?\s*tp\.|^\"?(?:title|date|created|updated)\"?[ \t]*[:=][ \t]*[\"']?\{\{.{0,80}?\}\}",
    re.MULTILINE,
)
_HEAD = 1_000


def is_template(text: str, *, markup: str) -> bool:
    """Whether a file, front matter included, waits to be filled in.

    Args:
        text: the whole file, of no site whose generator resolves such tags in posts.
    """
    if markup != "html":
        match = _OF_A_NOTE.search(text[:_HEAD])
        return match is not None and not text[: match.start()].count("```") % 2
    if not _OF_A_PAGE.search(text):
        return False
    return any(
        _OF_A_PAGE.search(part)
        for part, is_code in code_regions(text, markup=markup)
        if not is_code
    )
