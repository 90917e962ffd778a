"""An HTML post → clean Markdown, by trafilatura; code blocks are carried around it untouched.

Belongs here: preparing the tree so that trafilatura loses nothing, and the words of an HTML
fragment.
Does not belong here: Markdown posts (`markdown_cleaning`), whether a post is kept (`cleaning`).

Method: https://trafilatura.readthedocs.io/. On 95 HTML posts as they are, it lost 5 to 20 % of the
words of ten (code with markup inside, text between blocks) and broke lines before links; with
inline tags unwrapped, white space collapsed and `<pre>` replaced by a placeholder it lost none.
"""
# pyright: strict

from __future__ import annotations

import html
import re
import unicodedata
from importlib import import_module
from typing import Any

from twin_assets.corpus.code_blocks import HIGHLIGHT, fenced
from twin_assets.corpus.importers.html_head import parse_html

_UNWRAPPED = ("a", "span", "abbr", "font", "u", "cite", "small", "kbd", "samp", "var", "sup", "sub")
_DROPPED = (
    "img",
    "video",
    "audio",
    "iframe",
    "object",
    "svg",
    "script",
    "style",
    "noscript",
    "form",
)
_BLOCK = re.compile(
    "p|div|section|article|header|footer|main|aside|ul|ol|li|dl|dt|dd|blockquote|table|tr|pre|"
    "h[1-6]|figure|figcaption|details|summary|br|hr|center"
)
_PLACEHOLDER = re.compile(r"twincodeblock(\d+)end")
_WHOLE_PAGE = re.compile(r"<(?:html|body)\b", re.IGNORECASE)
_WORD = re.compile(r"\w+")


def clean_html(text: str, *, title: str = "") -> str:
    """Clean one post: a whole page (its main text) or a fragment (all of it).

    Args:
        text: HTML, without front matter.
        title: a first heading of level one that says the same is left out.

    Returns:
        Markdown: blocks apart by one empty line, a paragraph is one line, code as it was; "" when
        a page has no main text.
    """
    import trafilatura

    page = bool(_WHOLE_PAGE.search(text))
    body = text if page else f"<html><body><article>{text}</article></body></html>"
    tree = parse_html(_with_code_elements(body))
    if tree is None:
        return ""
    codes = _take_code_out(tree)
    _unwrap(tree)
    words = len(_WORD.findall(str(tree.text_content())))
    found = trafilatura.extract(
        tree,
        output_format="markdown",
        include_formatting=True,
        include_links=False,
        include_images=False,
        include_tables=True,
        include_comments=not page,
        favor_recall=True,
    )
    markdown = found or ""
    # Every word of a fragment is the author's: trafilatura may take none of them for boilerplate.
    if not page and len(_WORD.findall(markdown)) < 0.95 * words:
        markdown = _words_by_block(tree)
    return _without_title(_put_code_back(markdown, codes), title)


def fragment_as_markdown(fragment: str) -> str:
    """The words of raw HTML in a Markdown post, block by block; `<pre>` becomes a code block."""
    tree = parse_html(f"<div>{fragment}</div>")
    if tree is None:
        return ""
    codes = _take_code_out(tree)
    _unwrap(tree)
    return _put_code_back(_words_by_block(tree), codes)


def is_east_asian(character: str) -> bool:
    """Whether text in this character's script is written without spaces (Chinese, Japanese)."""
    return (
        bool(character)
        and unicodedata.east_asian_width(character) in {"W", "F"}
        and not (
            "\uac00" <= character <= "\ud7a3"  # Hangul has spaces
        )
    )


def _with_code_elements(text: str) -> str:
    return HIGHLIGHT.sub(
        lambda found: f'<pre class="language-{found[1]}">{html.escape(found[2])}</pre>', text
    )


def _take_code_out(tree: Any) -> list[str]:
    """Replace each `<pre>` by a paragraph that names it; the blocks come back in order, fenced."""
    etree: Any = import_module("lxml.etree")
    codes: list[str] = []
    for element in list(tree.iter("pre")):
        parent = element.getparent()
        if parent is None:
            continue
        classes = " ".join(str(node.get("class") or "") for node in element.iter())
        language = re.search(r"\b(?:language|lang|highlight-source)-([\w+#-]+)", classes)
        code = str(element.text_content()).strip("\n")
        placeholder = etree.Element("p")
        placeholder.text = f"twincodeblock{len(codes)}end" if code.strip() else ""
        placeholder.tail = element.tail
        parent.replace(element, placeholder)
        codes.append(fenced(code, language[1] if language else ""))
    return codes


def _put_code_back(markdown: str, codes: list[str]) -> str:
    def code_of(found: re.Match[str]) -> str:
        return "\n\n" + codes[int(found[1])] + "\n\n" if int(found[1]) < len(codes) else found[0]

    pieces = re.split(r"\n\s*\n", _PLACEHOLDER.sub(lambda found: f"\n\n{found[0]}\n\n", markdown))
    blocks = [_PLACEHOLDER.sub(code_of, piece).strip("\n") for piece in pieces]
    return "\n\n".join(block for block in blocks if block.strip())


def _unwrap(tree: Any) -> None:
    """Drop media and comments, unwrap inline tags, collapse white space: HTML means no more by
    it."""
    etree: Any = import_module("lxml.etree")
    for element in list(tree.iter(*_DROPPED, etree.Comment, etree.ProcessingInstruction)):
        if element.getparent() is not None:
            element.drop_tree()
    for element in list(tree.iter(*_UNWRAPPED)):
        if element.getparent() is not None:
            element.drop_tag()
    for element in tree.iter():
        if element.text:
            element.text = re.sub(r"\s+", " ", element.text)
        if element.tail:
            element.tail = re.sub(r"\s+", " ", element.tail)


def _words_by_block(tree: Any) -> str:
    """All text of a tree, a paragraph a block element; headings keep their level, items their
    dash."""
    blocks: list[str] = [""]

    def collect(element: Any) -> None:
        tag = element.tag if isinstance(element.tag, str) else ""
        if _BLOCK.fullmatch(tag):
            heading = "#" * int(tag[1]) + " " if re.fullmatch("h[1-6]", tag) else ""
            blocks.append(heading or ("- " if tag == "li" else ""))
        if tag in {"td", "th"}:
            blocks[-1] += " "
        mark = "`" if tag == "code" else ""
        blocks[-1] += mark + (element.text or "")
        for child in element:
            collect(child)
        blocks[-1] += mark
        if _BLOCK.fullmatch(tag):
            blocks.append("")
        blocks[-1] += element.tail or ""

    collect(tree)
    lines = [" ".join(block.split()) for block in blocks]
    return "\n\n".join(line for line in lines if _WORD.search(line))


def _without_title(markdown: str, title: str) -> str:
    first, _, rest = markdown.partition("\n")
    if first.startswith("# ") and _WORD.findall(first.lower()) == _WORD.findall(title.lower()):
        return rest.lstrip("\n")
    return markdown
