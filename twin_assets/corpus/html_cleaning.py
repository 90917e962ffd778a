"""Clean an HTML post: keep all of a fragment, but only the main text of a page (trafilatura).

Scope: finding the part of the tree that is the post, and preparing it so that trafilatura loses no
text. Out of scope: converting a tree to Markdown (`html_markdown`), Markdown posts
(`markdown_cleaning`), whether a post is kept (`cleaning`).

Method: https://trafilatura.readthedocs.io/. A fragment is a platform's export of a post, so it
needs no extraction. In ten of 95 such posts, trafilatura lost 5 to 20 % of the words: code with
markup inside, and text between blocks. For a page, the code converts trafilatura's tree instead of
its Markdown, because parsing the Markdown again took a third of the total time.
"""
# pyright: strict

from __future__ import annotations

import html
import re
from typing import Any

from twin_assets.corpus.code_blocks import replace_highlights
from twin_assets.corpus.html_fragment import (
    extract_code_blocks,
    fragment_to_markdown,
    keep_running_text,
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
"""If a smaller share of the words in a page's paragraphs and items is extracted, slower extractors
run too."""

# trafilatura's element names: https://trafilatura.readthedocs.io/en/latest/usage-python.html
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
    markdown, word_count = _extract_main_text(source, fast=True)
    if len(_WORD.findall(markdown)) < _MIN_WORD_SHARE * word_count:
        markdown, _ = _extract_main_text(source, fast=False)
    return _remove_title(markdown, title)


def _extract_main_text(source: str, *, fast: bool) -> tuple[str, int]:
    """Return the main text of a page, and the number of words in all its paragraphs and items.

    Args:
        fast: whether to skip the fallback extractors with which trafilatura compares its result;
            most pages do not need them.
    """
    import trafilatura

    tree = parse_html(source)
    if tree is None:
        return "", 0
    keep_running_text(tree)
    code_blocks = extract_code_blocks(tree)
    strip_inline_tags(tree)
    wrap_loose_text(tree)
    paragraphs = (str(element.text_content()) for element in tree.iter("p", "li"))
    word_count = sum(len(_WORD.findall(paragraph)) for paragraph in paragraphs)
    extraction: Any = trafilatura.bare_extraction(
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
    if extraction is None or extraction.body is None:
        return "", word_count
    return tree_to_markdown(_rename_to_html(extraction.body), code_blocks=code_blocks), word_count


def _rename_to_html(body: Any) -> Any:
    """Rename the elements of trafilatura's tree to HTML names, in place."""
    for element in body.iter("*"):
        rend = str(element.get("rend") or "")
        match element.tag:
            case "head":
                element.tag = rend or "h2"
            case "list":
                element.tag = rend if rend in {"ul", "ol", "dl"} else "ul"
            case "hi":
                element.tag = _HTML_INLINE_NAMES.get(rend, "span")
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
        text, lambda code, language: f'<pre class="language-{language}">{html.escape(code)}</pre>'
    )
