"""Raw HTML as text: code blocks taken out, inline tags unwrapped, the words of each block.

Belongs here: what both cleanings need of an HTML tree. Does not belong here: finding a page's main
text (`html_cleaning`), Markdown (`markdown_cleaning`).
"""
# pyright: strict

from __future__ import annotations

import re
import unicodedata
from importlib import import_module
from typing import Any

from twin_assets.corpus.html_markdown import DROPPED, PLACEHOLDER, code_of
from twin_assets.corpus.importers.html_head import parse_html

_UNWRAPPED = ("a", "span", "abbr", "font", "u", "cite", "small", "kbd", "samp", "var", "sup", "sub")
_BLOCK = re.compile(
    "p|div|section|article|header|footer|main|aside|ul|ol|li|dl|dt|dd|blockquote|table|tr|pre|"
    "h[1-6]|figure|figcaption|details|summary|br|hr|center"
)
_WORD = re.compile(r"\w+")


def fragment_as_markdown(fragment: str) -> str:
    """The words of raw HTML in a Markdown post, block by block; `<pre>` becomes a code block."""
    tree = parse_html(f"<div>{fragment}</div>")
    if tree is None:
        return ""
    codes = take_code_out(tree)
    unwrap(tree)
    return put_code_back(words_by_block(tree), codes)


def is_east_asian(character: str) -> bool:
    """Whether text in this character's script is written without spaces (Chinese, Japanese)."""
    return (
        bool(character)
        and unicodedata.east_asian_width(character) in {"W", "F"}
        and not (
            "\uac00" <= character <= "\ud7a3"  # Hangul has spaces
        )
    )


def take_code_out(tree: Any) -> list[str]:
    """Replace each `<pre>` by a paragraph that names it; the blocks come back in order, fenced."""
    etree: Any = import_module("lxml.etree")
    codes: list[str] = []
    for element in list(tree.iter("pre")):
        parent = element.getparent()
        if parent is None:
            continue
        code = code_of(element)
        placeholder = etree.Element("p")
        placeholder.text = f"twincodeblock{len(codes)}end" if code else ""
        placeholder.tail = element.tail
        parent.replace(element, placeholder)
        codes.append(code)
    return codes


def put_code_back(markdown: str, codes: list[str]) -> str:
    def code_of(found: re.Match[str]) -> str:
        return "\n\n" + codes[int(found[1])] + "\n\n" if int(found[1]) < len(codes) else found[0]

    pieces = re.split(r"\n\s*\n", PLACEHOLDER.sub(lambda found: f"\n\n{found[0]}\n\n", markdown))
    blocks = [PLACEHOLDER.sub(code_of, piece).strip("\n") for piece in pieces]
    return "\n\n".join(block for block in blocks if block.strip())


def unwrap(tree: Any) -> None:
    """Drop media and comments, unwrap inline tags."""
    etree: Any = import_module("lxml.etree")
    etree.strip_elements(
        tree, *DROPPED, etree.Comment, etree.ProcessingInstruction, with_tail=False
    )
    etree.strip_tags(tree, *_UNWRAPPED)


def wrap_loose_text(tree: Any) -> None:
    """Put text that lies between block elements into paragraphs, or it joins its neighbours."""
    etree: Any = import_module("lxml.etree")
    for container in list(tree.iter("body", "article", "section", "div", "blockquote")):
        children = list(container)
        if not any(_is_block(child) for child in children):
            continue
        loose = etree.Element("p")
        loose.text, container.text = container.text, None
        for child in children:
            if not _is_block(child):
                loose.append(child)  # its tail comes along
                continue
            if "".join(loose.itertext()).strip():
                child.addprevious(loose)
            loose = etree.Element("p")
            loose.text, child.tail = child.tail, None
        if "".join(loose.itertext()).strip():
            container.append(loose)


def words_by_block(tree: Any) -> str:
    """All text of a tree, a paragraph a block element; headings keep their level, items their
    dash."""
    blocks: list[str] = [""]

    def collect(element: Any) -> None:
        tag = element.tag if isinstance(element.tag, str) else ""
        if _is_block(element):
            heading = "#" * int(tag[1]) + " " if re.fullmatch("h[1-6]", tag) else ""
            blocks.append(heading or ("- " if tag == "li" else ""))
        if tag in {"td", "th"}:
            blocks[-1] += " "
        mark = "`" if tag == "code" else ""
        blocks[-1] += mark + (element.text or "")
        for child in element:
            collect(child)
        blocks[-1] += mark
        if _is_block(element):
            blocks.append("")
        blocks[-1] += element.tail or ""

    collect(tree)
    lines = [" ".join(block.split()) for block in blocks]
    return "\n\n".join(line for line in lines if _WORD.search(line))


def _is_block(element: Any) -> bool:
    return isinstance(element.tag, str) and bool(_BLOCK.fullmatch(element.tag))
