"""An HTML post → clean Markdown, by trafilatura; code blocks are carried around it untouched.

Belongs here: preparing the tree so that trafilatura loses nothing, and reading back what it wrote.
Does not belong here: Markdown posts (`markdown_cleaning`), whether a post is kept (`cleaning`).

Method: https://trafilatura.readthedocs.io/. On 95 HTML posts as they are, it lost 5 to 20 % of the
words of ten (code with markup inside, text between blocks) and broke lines before links; with
inline tags unwrapped, white space collapsed and `<pre>` replaced by a placeholder it lost none.
"""
# pyright: strict

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from twin_assets.corpus.code_blocks import replace_highlights
from twin_assets.corpus.html_fragment import (
    put_code_back,
    take_code_out,
    unwrap,
    words_by_block,
    wrap_loose_text,
)
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.markdown_cleaning import clean_markdown

_WHOLE_PAGE = re.compile(r"<(?:html|body)\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_ENOUGH = 1 / 3
"""Of the words in a page's paragraphs and items: with fewer the slower extractors have a look."""


def clean_html(text: str, *, title: str = "") -> str:
    """Clean one post: a whole page (its main text) or a fragment (all of it).

    Args:
        text: HTML, without front matter.
        title: a first heading of level one that says the same is left out.

    Returns:
        Markdown: blocks apart by one empty line, a paragraph is one line, code as it was; "" when
        a page has no main text.
    """
    page = bool(_WHOLE_PAGE.search(text))
    body = text if page else f"<html><body><article>{text}</article></body></html>"
    found = _extracted(body, page=page, fast=True)
    if page and len(_WORD.findall(found.markdown)) < _ENOUGH * found.words:
        found = _extracted(body, page=page, fast=False)
    # What it wrote is Markdown with escapes: the same parser as for Markdown posts reads it back.
    return clean_markdown(found.markdown, title=title) if found.escaped else found.markdown


@dataclass(frozen=True)
class _Found:
    """Main text; `words` stand in the paragraphs and items of the whole."""

    markdown: str
    words: int
    escaped: bool = True


def _extracted(body: str, *, page: bool, fast: bool) -> _Found:
    """The main text.

    Args:
        fast: without the other extractors that trafilatura compares its own with. They guess at the
            main text of a page: a fragment is all main text, and most pages do not need them.
    """
    import trafilatura

    tree = parse_html(_with_code_elements(body))
    if tree is None:
        return _Found("", 0)
    codes = take_code_out(tree)
    unwrap(tree)
    wrap_loose_text(tree)
    paragraphs = tree.iter("p", "li") if page else [tree]
    words = sum(len(_WORD.findall(str(one.text_content()))) for one in paragraphs)
    found = trafilatura.extract(
        tree,
        output_format="markdown",
        include_formatting=True,
        include_links=False,
        include_images=False,
        include_tables=True,
        include_comments=not page,
        favor_recall=True,
        fast=fast,
    )
    # Every word of a fragment is the author's: trafilatura may take none of them for boilerplate.
    if not page and len(_WORD.findall(found or "")) < 0.95 * words:
        return _Found(put_code_back(words_by_block(tree), codes), words, escaped=False)
    return _Found(put_code_back(found or "", codes), words)


def _with_code_elements(text: str) -> str:
    return replace_highlights(
        text,
        lambda code, language: f'<pre class="language-{language}">{html.escape(code)}</pre>',
    )
