"""Convert a piece of HTML to Markdown, and prepare a page's tree for an extractor.

Scope: HTML tree functions for HTML and Markdown cleaning. Out of scope: finding a page's main text
(`html_cleaning`), the Markdown equivalent of a tag (`html_markdown`), HTML within a Markdown post
(`html_in_markdown`).
"""
# pyright: strict

from __future__ import annotations

import re
import unicodedata
from importlib import import_module
from typing import Any

from twin_assets.corpus.html_markdown import (
    DROPPED_TAGS,
    convert_formulas_and_footnotes,
    pre_to_fenced_block,
    tree_to_markdown,
)

_UNWRAPPED_TAGS = (
    *("a", "span", "abbr", "font", "u", "cite", "small", "kbd", "samp", "var", "sup", "sub"),
)
# trafilatura drops these with their text (`settings.MANUALLY_CLEANED`).
_DROPPED_BY_EXTRACTOR = (
    *("figure", "figcaption", "aside", "dialog", "fieldset", "footer", "label", "map", "menu"),
    *("nav", "object"),
)
_NO_RUNNING_TEXT = frozenset({"blockquote", "q", "script", "style", "noscript", "table"})
_MEDIA = ("img", "picture", "video", "audio", "svg", "iframe", "canvas", "object", "embed")
_MAX_CAPTION_WORDS = 60
_MIN_TEXT_WORDS = 5
_MIN_PARAGRAPH_WORDS = 15
_WORD = re.compile(r"[^\W\d_]{2,}")
_BLOCK = re.compile(
    "p|div|section|article|header|footer|main|aside|ul|ol|li|dl|dt|dd|blockquote|table|tr|pre|"
    "h[1-6]|figure|figcaption|details|summary|br|hr|center"
)


def fragment_to_markdown(fragment: str) -> str:
    """Convert a whole fragment to Markdown."""
    # lxml.html would be slower, because it looks up a Python class for each element.
    etree: Any = import_module("lxml.etree")
    page = f"<html><body>{fragment}</body></html>".encode("utf-8", "replace")
    return tree_to_markdown(etree.fromstring(page, etree.HTMLParser(encoding="utf-8")))


def is_east_asian(character: str) -> bool:
    """Return whether a character belongs to a script without spaces (Chinese, Japanese)."""
    return (
        bool(character)
        and unicodedata.east_asian_width(character) in {"W", "F"}
        and not ("\uac00" <= character <= "\ud7a3")  # Hangul has spaces
    )


def extract_code_blocks(tree: Any) -> list[str]:
    """Replace each `<pre>` with a placeholder paragraph and return the fenced blocks in order."""
    etree: Any = import_module("lxml.etree")
    code_blocks: list[str] = []
    for element in list(tree.iter("pre")):
        parent = element.getparent()
        if parent is None:
            continue
        code = pre_to_fenced_block(element)
        placeholder = etree.Element("p")
        placeholder.text = f"twincodeblock{len(code_blocks)}end" if code else ""
        placeholder.tail = element.tail
        parent.replace(element, placeholder)
        code_blocks.append(code)
    return code_blocks


def keep_running_text(tree: Any) -> None:
    """Rename elements that the extractor drops with all their text, where they hold running text.

    Authors leave a `<figure>` open, and the rest of the post is in it; others put their listings
    and paragraphs there, or write in a bare `<div>`. A quotation, an embedded page and a caption
    stay where they are.
    """
    etree: Any = import_module("lxml.etree")
    for element in list(tree.iter("div")):
        if not any(_is_block(child) for child in element):
            words_in_links = _count_words(*(a.text_content() for a in element.iter("a")))
            word_count = _count_words(element.text_content())
            if word_count >= _MIN_PARAGRAPH_WORDS and words_in_links * 2 < word_count:
                # It drops a `<div>` of text alone, whose class may say that others wrote it.
                paragraph = etree.SubElement(element, "p")
                paragraph.text, element.text = element.text, None
                paragraph.extend(list(element)[:-1])
    words: dict[Any, int] = dict.fromkeys(tree.iter(*_DROPPED_BY_EXTRACTOR), 0)
    if not words:
        return
    total, open_elements = 0, [None]
    walk: Any = etree.iterwalk(tree, events=("start", "end", "comment", "pi"))
    for event, element in walk:
        text = element.tail
        if event == "start":
            text = element.text
            if element in words:
                open_elements.append(element)
            if element.tag in _NO_RUNNING_TEXT:
                walk.skip_subtree()
                text = None
        elif event == "end" and element is open_elements[-1]:
            open_elements.pop()
        count = _count_words(text or "")
        total += count
        if open_elements[-1] in words:
            words[open_elements[-1]] += count
    kept = {element for element in words if _holds_running_text(element, words[element], total)}
    for element in words:
        if element in kept:
            element.tag = "div"
        elif element.tag == "figcaption" and kept.intersection(element.iterancestors()):
            element.drop_tree()  # the extractor would keep it without its figure


def _count_words(*texts: str) -> int:
    return sum(len(_WORD.findall(text)) for text in texts)


def _holds_running_text(element: Any, count: int, total: int) -> bool:
    """Return whether a post's text is in an element with this number of words, of all its page's.

    A figure that contains another one, or is in one, is open. A picture's figure without a
    `<figcaption>` has its caption in other elements.
    """
    if element.tag == "figcaption":
        return count > _MAX_CAPTION_WORDS
    if element.tag != "figure":
        return count * 3 > total
    is_picture = next(element.iter(*_MEDIA), None) is not None
    if not is_picture and next(element.iter("pre"), None) is not None:
        return True
    figures = [*element.iter("figure", "figcaption"), *element.iterancestors("figure")]
    is_caption = is_picture and len(figures) == 1
    return count > (_MAX_CAPTION_WORDS if is_caption else _MIN_TEXT_WORDS)


def strip_inline_tags(tree: Any) -> None:
    """Convert formulas and footnotes to text, remove media and comments, and unwrap inline tags."""
    etree: Any = import_module("lxml.etree")
    convert_formulas_and_footnotes(tree)
    etree.strip_elements(
        tree, *DROPPED_TAGS, etree.Comment, etree.ProcessingInstruction, with_tail=False
    )
    etree.strip_tags(tree, *_UNWRAPPED_TAGS)


def wrap_loose_text(tree: Any) -> None:
    """Wrap text between block elements in paragraphs; otherwise it would join its neighbors."""
    etree: Any = import_module("lxml.etree")
    for container in list(tree.iter("body", "article", "section", "div", "blockquote")):
        children = list(container)
        if not any(_is_block(child) for child in children):
            continue
        paragraph = etree.Element("p")
        paragraph.text, container.text = container.text, None
        for child in children:
            if not _is_block(child):
                paragraph.append(child)  # the child's tail moves with it
                continue
            if "".join(paragraph.itertext()).strip():
                child.addprevious(paragraph)
            paragraph = etree.Element("p")
            paragraph.text, child.tail = child.tail, None
        if "".join(paragraph.itertext()).strip():
            container.append(paragraph)


def _is_block(element: Any) -> bool:
    return isinstance(element.tag, str) and bool(_BLOCK.fullmatch(element.tag))
