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
