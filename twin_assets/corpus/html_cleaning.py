"""Clean an HTML post: all of a fragment, or the main text of a whole page with trafilatura.

Scope: finding the part of the tree that is the post, and preparing it so that trafilatura loses
nothing. Out of scope: converting a tree to Markdown (`html_markdown`), Markdown posts
(`markdown_cleaning`), whether a post is kept (`cleaning`).

Method: https://trafilatura.readthedocs.io/. A fragment is a platform's export of a post, so it
needs no extraction. In ten of 95 such posts, trafilatura lost 5 to 20 % of the words (code with
markup inside, text between blocks). For a page, trafilatura's tree is used instead of its Markdown,
because parsing the Markdown again took a third of the time.
"""
# pyright: strict

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

from twin_assets.corpus.code_blocks import replace_highlights
from twin_assets.corpus.html_fragment import (
    extract_code_blocks,
    fragment_to_markdown,
    strip_inline_tags,
    wrap_loose_text,
)
from twin_assets.corpus.html_markdown import tree_to_markdown
from twin_assets.corpus.importers.html_head import parse_html
from twin_assets.corpus.template_tags import remove_html_template_tags

_WHOLE_PAGE = re.compile(r"<(?:html|body)\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_TITLE = re.compile(r"# (.*)(?:\n\n|\Z)")
_MIN_WORD_SHARE = 1 / 3
"""Share of the words in a page's paragraphs and items below which slower extractors also run."""

# trafilatura's names of elements, https://trafilatura.readthedocs.io/en/latest/usage-python.html
_HTML_NAMES = {"item": "li", "quote": "blockquote", "lb": "br", "row": "tr", "cell": "td"}
_HTML_INLINE_NAMES = {"#i": "i", "#b": "b", "#t": "tt"}


def clean_html(text: str, *, title: str = "") -> str:
    """Clean one post: a whole page (its main text) or a fragment (all of it).

    Args:
        text: the HTML, without front matter.
        title: the post's title; a first level-one heading with the same text is removed.

    Returns:
        Markdown: blocks separated by one empty line, one line per paragraph, code unchanged; "" if
        a page has no main text.
    """
    source = remove_html_template_tags(_convert_highlights_to_code(text))
    if not _WHOLE_PAGE.search(source):
        return _remove_title(fragment_to_markdown(source), title)
    main_text = _extract_main_text(source, fast=True)
    if len(_WORD.findall(main_text.markdown)) < _MIN_WORD_SHARE * main_text.words:
        main_text = _extract_main_text(source, fast=False)
    return _remove_title(main_text.markdown, title)


@dataclass(frozen=True)
class _MainText:
    """Main text, and the number of words in the paragraphs and items of the whole page."""

    markdown: str
    words: int


def _extract_main_text(source: str, *, fast: bool) -> _MainText:
    """Return the main text of a page.

    Args:
        fast: whether to skip the extractors with which trafilatura compares its result; most pages
            do not need them.
    """
    import trafilatura

    tree = parse_html(source)
    if tree is None:
        return _MainText("", 0)
    code_blocks = extract_code_blocks(tree)
    strip_inline_tags(tree)
    wrap_loose_text(tree)
    words = sum(len(_WORD.findall(str(element.text_content()))) for element in tree.iter("p", "li"))
    extracted: Any = trafilatura.bare_extraction(
        tree,
        output_format="markdown",
        include_formatting=True,
        include_links=False,
        include_images=False,
        include_tables=True,
        include_comments=False,
        favor_recall=True,
        fast=fast,
    )
    if extracted is None or extracted.body is None:
        return _MainText("", words)
    return _MainText(
        tree_to_markdown(_rename_to_html(extracted.body), code_blocks=code_blocks), words
    )


def _rename_to_html(body: Any) -> Any:
    """Rename the elements of trafilatura's tree to HTML, in place."""
    for element in body.iter("*"):
        rendition = str(element.get("rend") or "")
        match element.tag:
            case "head":
                element.tag = rendition or "h2"
            case "list":
                element.tag = rendition if rendition in {"ul", "ol", "dl"} else "ul"
            case "hi":
                element.tag = _HTML_INLINE_NAMES.get(rendition, "span")
            case tag:
                element.tag = _HTML_NAMES.get(tag, tag)
    return body


def _remove_title(markdown: str, title: str) -> str:
    heading = _TITLE.match(markdown)
    if heading and _WORD.findall(heading[1].lower()) == _WORD.findall(title.lower()):
        return markdown[heading.end() :]
    return markdown


def _convert_highlights_to_code(text: str) -> str:
    return replace_highlights(
        text,
        lambda code, language: f'<pre class="language-{language}">{html.escape(code)}</pre>',
    )
