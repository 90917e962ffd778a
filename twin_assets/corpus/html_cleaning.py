"""Clean an HTML post: keep all of a fragment, but only the main text of a page (trafilatura).

Method: https://trafilatura.readthedocs.io/. A fragment is a platform's export of a post, so it
needs no extraction. In ten of 95 such posts, trafilatura lost 5 to 20 % of the words: code with
markup inside, and text between blocks. For a page, the code converts trafilatura's tree instead of
its Markdown, because parsing the Markdown again took a third of the total time.
"""
# pyright: strict

from __future__ import annotations

import html
import re
from importlib import import_module
from itertools import islice
from typing import Any

from twin_assets.corpus.code_blocks import replace_highlights
from twin_assets.corpus.html_markdown import (
    BLOCK_TAGS,
    DROPPED_TAGS,
    html_to_markdown,
    is_redundant,
    read_formula,
    remove_title,
    tree_to_markdown,
)
from twin_assets.corpus.importers.html_head import drop_hidden_elements, parse_html
from twin_assets.corpus.template_tags import remove_html_template_tags

_WHOLE_PAGE = re.compile(r"<(?:html|body)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")
_MIN_WORD_SHARE = 1 / 3
"""If a smaller share of the words in a page's paragraphs and items is extracted, slower extractors
run too."""

_UNWRAPPED_TAGS = (
    *("a", "span", "abbr", "font", "u", "cite", "small", "kbd", "samp", "var", "sup", "sub"),
)
# trafilatura drops these with their text (`settings.MANUALLY_CLEANED`).
_DROPPED_BY_EXTRACTOR = (
    *("figure", "figcaption", "aside", "dialog", "fieldset", "footer", "label", "map", "menu"),
    *("nav", "object"),
)
_NO_RUNNING_TEXT = frozenset(
    {"blockquote", "q", "script", "style", "noscript", "table", "figcaption"}
)
# The extractor drops a part of a table outside of one, but not in a paragraph.
_PARAGRAPH_ENDS = BLOCK_TAGS - {"td", "th", "caption", "thead", "tbody", "tfoot"} | {"br"}
_MEDIA = ("img", "picture", "video", "audio", "svg", "iframe", "canvas", "object", "embed")
_MAX_CAPTION_WORDS = 60  # in a figure whose caption is not marked as one
_MIN_TEXT_WORDS = 5
_MIN_PARAGRAPH_WORDS = 15
_CONTAINERS = frozenset({"body", "div", "section", "center", "form", "td"})
# The names in trafilatura's `BODY_XPATH`, which takes a tenth of the time of a page.
_TEXT_NAME = re.compile(
    r"(?:entry|page|text|article|art|theme|blog|section|single|post|story)[-_]{0,2}(?:content|body|text)"
    r"|body-text|post-?entry|post_inner|post-bodycopy|article__container|single-post|main-column"
    r"|wpb_text_column|field-body|content[-_]{0,2}(?:main|body)|main-content|fulltext"
    r"|(?:^|\|)(?:post|entry|postarea|text|cell|story|content|article|articleContent)(?:\||$)"
    r"|(?:^|\|)(?:main|primary|article )",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"twinelement(\d{1,9})end")

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
    source = replace_highlights(
        text, lambda code, language: f'<pre class="language-{language}">{html.escape(code)}</pre>'
    )
    source = remove_html_template_tags(source)
    if not _WHOLE_PAGE.search(source):
        return remove_title(html_to_markdown(source), title)
    markdown, word_count = _extract_main_text(source, fast=True)
    if _count_words(markdown) < _MIN_WORD_SHARE * word_count:
        markdown, _ = _extract_main_text(source, fast=False)
    return remove_title(markdown, title)


def _extract_main_text(source: str, *, fast: bool) -> tuple[str, int]:
    """Return the main text of a page, and the number of words in all its paragraphs and items.

    Args:
        fast: whether to skip the fallback extractors with which trafilatura compares its result;
            most pages do not need them.
    """
    import trafilatura

    etree: Any = import_module("lxml.etree")
    tree = parse_html(source)
    if tree is None:
        return "", 0
    drop_hidden_elements(tree, source)
    _keep_running_text(tree)
    _wrap_loose_text(tree)
    elements = _take_out_elements(tree)
    etree.strip_elements(
        tree, *DROPPED_TAGS, etree.Comment, etree.ProcessingInstruction, with_tail=False
    )
    _mark_main_part(tree)
    etree.strip_tags(tree, *_UNWRAPPED_TAGS)
    word_count = _count_paragraph_words(tree)
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
    body = _rename_to_html(extraction.body)
    _put_back_elements(body, elements)
    return tree_to_markdown(body), word_count


def _count_words(text: Any) -> int:
    return len(_WORD.findall(str(text)))


def _count_paragraph_words(element: Any) -> int:
    return sum(_count_words(part.text_content()) for part in element.iter("p", "li"))


def _mark_main_part(tree: Any) -> None:
    """Put the page's text into an `<article>` if the extractor would look for it elsewhere.

    Where none of its names is on a page (`class="post"`, `id="content"` …), or only on a small part
    of it, such as a listing of Asciidoctor (`class="content"`), the extractor collects paragraphs
    from the whole page, without headings and not in their order. The text is then the smallest
    element that holds all running text.
    """
    if next(tree.iter("article", "main"), None) is not None:
        return
    etree: Any = import_module("lxml.etree")
    parts = [
        part
        for part in tree.iter("div", "section")
        if _TEXT_NAME.search("|".join(part.get(name) or "" for name in ("class", "id", "role")))
        or part.get("itemprop") == "articleBody"
    ]
    min_count = _MIN_WORD_SHARE * _count_paragraph_words(tree)
    counts = [_count_paragraph_words(part) for part in parts]
    if parts and min(counts) < min_count <= max(counts):  # which of them is taken?
        xpaths: Any = import_module("trafilatura.xpaths")
        named_parts = (part for find in xpaths.BODY_XPATH for part in find(tree)[:1])
        counts = [_count_paragraph_words(part) for part in islice(named_parts, 1)]
    if counts and min(counts) >= min_count:
        return
    common: list[Any] | None = None  # the ancestors of all running text, from the nearest on
    for part in tree.iter("p", "li", "dd", "table"):
        links = " ".join(str(link.text_content()) for link in part.iter("a"))
        text = str(part.text_content())
        if not _PLACEHOLDER.match(text) and (
            _count_words(text) - _count_words(links) < _MIN_TEXT_WORDS
            or (part.tag == "table" and next(part.iter("p"), None) is not None)
        ):
            continue
        ancestors = list(part.iterancestors())
        known = ancestors if common is None else set(ancestors)
        common = [ancestor for ancestor in common or ancestors if ancestor in known]
    container = next((part for part in common or () if part.tag in _CONTAINERS), None)
    if container is None:
        return
    article = etree.Element("article")
    article.text, container.text = container.text, None
    article.extend(list(container))
    container.append(article)


def _count_running_words(tree: Any) -> int:
    """Count the words outside quotations, tables and captions; XPath takes three times as long."""
    etree: Any = import_module("lxml.etree")
    texts: list[str] = []
    walk: Any = etree.iterwalk(tree, events=("start", "end", "comment", "pi"))
    for event, element in walk:
        if event == "start" and element.tag in _NO_RUNNING_TEXT:
            walk.skip_subtree()
        elif event == "start":
            texts.append(element.text or "")
        elif element is not tree:
            texts.append(element.tail or "")
    return _count_words(" ".join(texts))


def _keep_running_text(tree: Any) -> None:
    """Rename elements that the extractor drops with all their text, where they hold running text.

    Authors leave a `<figure>` open, and the rest of the post is in it; others put their listings
    and paragraphs there. A caption as long as a paragraph is prose, and keeps its figure. A
    quotation, an embedded page and a shorter caption stay where they are.
    """
    elements = list(tree.iter(*_DROPPED_BY_EXTRACTOR))
    page_word_count = _count_running_words(tree) if elements else 0
    kept = {element for element in elements if _holds_running_text(element, page_word_count)}
    captions = [element for element in kept if element.tag == "figcaption"]
    kept.update(figure for caption in captions for figure in caption.iterancestors("figure"))
    for element in elements:
        if element in kept:
            element.tag = "div"
        elif element.tag == "figcaption" and kept.intersection(element.iterancestors()):
            element.drop_tree()  # the extractor would keep it without its figure


def _holds_running_text(element: Any, page_word_count: int) -> bool:
    """Return whether a part of the post's text is in an element.

    A figure that contains another one, or is in one, is open. A picture's figure without a
    `<figcaption>` has its caption in other elements.
    """
    if element.tag == "figcaption":
        return _count_words(element.text_content()) >= _MIN_PARAGRAPH_WORDS
    word_count = _count_running_words(element)
    if element.tag != "figure":
        return word_count * 3 > page_word_count
    is_picture = next(element.iter(*_MEDIA), None) is not None
    if not is_picture and next(element.iter("pre"), None) is not None:
        return True
    figures = [*element.iter("figure", "figcaption"), *element.iterancestors("figure")]
    is_caption = is_picture and len(figures) == 1
    return word_count > (_MAX_CAPTION_WORDS if is_caption else _MIN_TEXT_WORDS)


def _wrap_loose_text(tree: Any) -> None:
    """Wrap text between block elements in paragraphs; otherwise it would join its neighbors.

    A `<div>` of text alone is wrapped too if it reads like a paragraph: the extractor drops it if
    its class says that others wrote it.
    """
    etree: Any = import_module("lxml.etree")
    for container in list(tree.iter("body", "article", "section", "div", "blockquote")):
        children = list(container)
        if not any(child.tag in _PARAGRAPH_ENDS for child in children):
            word_count = _count_words(container.text_content())
            link_words = " ".join(str(link.text_content()) for link in container.iter("a"))
            if (
                container.tag != "div"
                or word_count < _MIN_PARAGRAPH_WORDS
                or _count_words(link_words) * 2 >= word_count
            ):
                continue
        paragraph = etree.Element("p")
        paragraph.text, container.text = container.text, None
        for child in children:
            if child.tag not in _PARAGRAPH_ENDS:
                paragraph.append(child)  # the child's tail moves with it
                continue
            if "".join(paragraph.itertext()).strip():
                child.addprevious(paragraph)
            paragraph = etree.Element("p")
            paragraph.text, child.tail = child.tail, None
        if "".join(paragraph.itertext()).strip():
            container.append(paragraph)


def _take_out_elements(tree: Any) -> list[Any]:
    """Replace code, formulas and raised text, which the extractor damages, with placeholders.

    Footnote marks and repeated formulas are removed.
    """
    etree: Any = import_module("lxml.etree")
    elements: list[Any] = []
    # Code comes first, so that the elements inside it are gone.
    for names in (("pre",), ("script", "math", "sup", "sub", "a", "span")):
        for element in list(tree.iter(*names)):
            if is_redundant(element):
                element.drop_tree()
            elif (
                element.tag == "pre"
                or (element.tag in {"sup", "sub"} and not len(element))
                or read_formula(element) is not None
            ):
                placeholder = etree.Element("p" if element.tag == "pre" else "span")
                placeholder.text = f"twinelement{len(elements)}end"
                placeholder.tail, element.tail = element.tail, None
                element.getparent().replace(element, placeholder)
                elements.append(element)
    return elements


def _put_back_elements(body: Any, elements: list[Any]) -> None:
    """Replace the placeholders in the extracted text with their elements."""
    for node in list(body.iter("*")) if elements else []:
        for place, text in (("tail", node.tail), ("text", node.text)):
            first_text, *rest = _PLACEHOLDER.split(text or "")
            if not rest or max(map(int, rest[::2])) >= len(elements):
                continue
            setattr(node, place, first_text)
            parent = node if place == "text" else node.getparent()
            position = 0 if place == "text" else parent.index(node) + 1
            for offset, number in enumerate(rest[::2]):
                element = elements[int(number)]
                element.tail = rest[2 * offset + 1]
                parent.insert(position + offset, element)


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
