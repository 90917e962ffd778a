"""Convert an HTML tree to Markdown in one walk, keeping every word and leaving code unchanged.

Every post passes through it: a page's main text (`html_cleaning`), a fragment, and Markdown, whose
parser writes HTML (`markdown_cleaning`).
Tags: https://html.spec.whatwg.org/multipage/, Markdown: https://spec.commonmark.org/,
https://github.github.com/gfm/#tables-extension-

White space is collapsed as in a browser. An unknown tag is replaced with its text. The walk is
recursive, since libxml2 reads at most 256 levels of elements; tags below are removed before.
"""
# pyright: strict

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from twin_assets.corpus.code_blocks import fence_code
from twin_assets.corpus.importers.html_head import (
    drop_hidden_elements,
    is_cut_short,
    remove_deep_tags,
)
from twin_assets.corpus.template_tags import remove_template_tags

DROPPED_TAGS = frozenset(
    {"img", "video", "audio", "iframe", "object", "svg", "script", "style", "noscript", "form"}
    | {"template", "canvas", "button", "select", "textarea", "title"}
)
"""Elements whose content is not part of a post's text."""

FORMULA = "twinmath"
"""The name of the element, or the class of a `<pre>`, that contains an unchanged formula."""

MARK = "twinmark"
"""The attribute with the mark that the author wrote in Markdown: `_`, `__`, or for code."""

_CODE_TAGS = frozenset({"code", "tt"})
_FORMULA_TAGS = frozenset({FORMULA, "script", "math"})
_REDUNDANT_TAGS = frozenset({"a", "span", "sup"})
_INLINE_MARKS = {"em": "*", "i": "*", "strong": "**", "b": "**", "q": '"'} | {
    **dict.fromkeys(("s", "del", "strike"), "~~"),
    **dict.fromkeys(_CODE_TAGS, "`"),
}
# Superscript or subscript digits are part of a number (`10⁶`); letters (`4th`) stay unchanged.
_SUPERSCRIPTS = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_SUBSCRIPTS = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_NUMBER = re.compile(r"[0-9+−=()n-]{1,12}")
# A footnote mark, or the link back from the footnote: a link within the page without words.
_FOOTNOTE_LINK = re.compile(r"#.{0,80}?(?:fn|note|ftn|ref|cite)", re.IGNORECASE)
_FOOTNOTE_LABEL = re.compile(r"[\[(^]?[\d*†‡↩↑^]{0,4}[\])]?\ufe0e?")
_DUPLICATE_FORMULA_CLASSES = frozenset(
    {"katex-html", "MathJax_Preview", "MathJax", "MJX_Assistive_MathML"}
)
# Text that a Markdown parser would interpret as a tag or a character reference.
_HTML_LIKE_TEXT = re.compile(r"<(?=/?[A-Za-z][\w-]{0,60}(?:\s[^<>]{0,500})?/?>)|&(?=#?\w{1,31};)")
_BARE_PIPE = re.compile(r"(?<!\\)\|")
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_LIST_TAGS = frozenset({"ul", "ol", "dl", "menu"})
BLOCK_TAGS = frozenset(
    {"p", "div", "section", "article", "header", "footer", "main", "aside", "nav", "address"}
    | {"figure", "figcaption", "details", "summary", "hr", "center", "fieldset", "legend"}
    | {"caption", "thead", "tbody", "tfoot", "body", "hgroup", "dialog", "pre", "blockquote"}
    | {"li", "dt", "dd", "td", "th", "tr", "table", *_LIST_TAGS, *_HEADINGS}
)
_PARAGRAPH_PARENTS = frozenset(
    {"p", "div", "li", "dd", "section", "article", "figure", "center", "body"}
)
_LINE_BREAK = "\v"
_SPAN_START, _SPAN_END = "\x01", "\x02"
# `<b>a</b><b>b</b>` is one span, as `**a****b**` is not valid.
_JOINED_SPANS = re.compile(r"(?<![*~`])(\*\*?|~~|`)\x02\x01\1(?![*~`])")
_SPACES = re.compile(r"[ \t\n\r\f\xa0]{2,}|[\t\n\r\f\xa0]")  # but not each single space
_SOURCE_LINE_END = re.compile(r"([^\x00-\x7f])[ \t]*\n[ \t]*(?=([^\x00-\x7f]))")
_LANGUAGE = re.compile(r"\b(?:language|lang|highlight-source)-([\w+#-]+)")
_MAX_DIGITS = 9  # maximum length of a list item's number, as in CommonMark
_TITLE = re.compile(r"# (.*)(?:\n\n|\Z)")


class _Block(NamedTuple):
    """A finished block.

    Attributes:
        kind: "paragraph", "list", "item", "cell", "row", or "" for any other.
        text: its Markdown, or "" if it has parts.
        parts: the blocks of an item or a cell, or the cells of a row.
    """

    kind: str
    text: str = ""
    parts: Sequence[_Block] = ()


def html_to_markdown(fragment: str) -> str:
    """Convert a whole fragment, as `tree_to_markdown` does."""
    # lxml.html would be slower, because it looks up a Python class for each element.
    etree: Any = import_module("lxml.etree")
    parser = etree.HTMLParser(encoding="utf-8")
    page = f"<html><body>{fragment}</body></html>"
    tree = etree.fromstring(page.encode("utf-8", "replace"), parser)
    if is_cut_short(parser):
        tree = etree.fromstring(remove_deep_tags(page).encode("utf-8", "replace"), parser)
    drop_hidden_elements(tree, fragment)
    return tree_to_markdown(tree)


def tree_to_markdown(tree: Any) -> str:
    """Convert an lxml element with all its content to Markdown.

    Returns:
        Blocks separated by one empty line; a paragraph is one line except for `<br>`.
    """
    markdown = "\n\n".join(_list_texts(_end_paragraphs(_convert(tree))))
    if _SPAN_END + _SPAN_START in markdown:
        markdown = _JOINED_SPANS.sub("", markdown)
    return markdown.replace(_SPAN_START, "").replace(_SPAN_END, "")


def remove_title(markdown: str, title: str) -> str:
    """Return Markdown without a first level-one heading that has the words of the title."""
    heading = _TITLE.match(markdown)
    if heading and re.findall(r"\w+", heading[1].lower()) == re.findall(r"\w+", title.lower()):
        return markdown[heading.end() :]
    return markdown


def read_formula(element: Any) -> str | None:
    """Return an element that shows a formula as TeX between its marks, or None for any other."""
    if element.tag == FORMULA:
        return str(element.text or "")
    if element.tag == "script" and "math/tex" in str(element.get("type") or ""):
        tex, is_display = str(element.text or ""), "display" in str(element.get("type"))
    elif element.tag == "math":
        annotations = [str(annotation.text or "") for annotation in element.iter("annotation")]
        tex = (annotations or [str(element.get("alttext") or "")])[0]
        is_display = element.get("display") == "block"
    else:
        return None
    mark = "$$" if is_display else "$"
    return f"{mark}{tex.strip()}{mark}" if tex.strip() else None


def is_redundant(element: Any) -> bool:
    """Return whether an element is a footnote mark or repeats a formula."""
    if element.tag == "span":
        return str(element.get("class") or "") in _DUPLICATE_FORMULA_CLASSES
    link = element if element.tag == "a" else next(iter(element), None)
    if element.tag not in {"a", "sup"} or link is None or link.tag != "a":
        return False
    return bool(_FOOTNOTE_LINK.match(str(link.get("href") or ""))) and bool(
        _FOOTNOTE_LABEL.fullmatch("".join(element.itertext()).strip())
    )


def _convert(element: Any) -> list[str | _Block]:
    """Return the inline text and the blocks of an element, in order."""
    tag = element.tag
    if not isinstance(tag, str):
        return []
    if tag == "pre":
        is_formula = element.get("class") == FORMULA
        return [_Block("", str(element.text or "") if is_formula else _fence_code(element))]
    if tag in _CODE_TAGS and (not len(element) or next(element.iter(*BLOCK_TAGS), None) is None):
        # lxml refuses `_LINE_BREAK`, which is no character of XML.
        code = _SPACES.sub(" ", _read_code(element, line_break="\u2028"))
        if "\u2028" in code.strip():
            return [_Block("", fence_code(code.replace("\u2028", "\n").strip("\n")))]
        return [_mark_text(code, "`", has_outer_spaces=element.get(MARK) is None)]
    if tag in _FORMULA_TAGS and (formula := read_formula(element)) is not None:
        return [formula]
    if tag in DROPPED_TAGS or (tag in _REDUNDANT_TAGS and is_redundant(element)):
        return []
    pieces: list[str | _Block] = [_LINE_BREAK] if tag == "br" else []
    if element.text:
        pieces.append(_escape_text(element.text))
    for child in element:
        pieces += _convert(child)
        if child.tail:
            pieces.append(_escape_text(child.tail))
    if tag == "q" and _is_paragraph(element):
        tag = "blockquote"
    if tag in {"sup", "sub"}:
        return _convert_number(pieces, tag)
    if tag in _INLINE_MARKS:
        return _mark_pieces(pieces, element.get(MARK) or _INLINE_MARKS[tag])
    if tag not in BLOCK_TAGS:
        return pieces
    # Also an element without text ends the paragraph before it.
    return [*_build_blocks(tag, element, _end_paragraphs(pieces)), _Block("")]


def _escape_text(text: str) -> str:
    text = remove_template_tags(text)
    return _HTML_LIKE_TEXT.sub(r"\\\g<0>", text) if "<" in text or "&" in text else text


def _read_code(element: Any, *, line_break: str) -> str:
    if not len(element):
        return str(element.text or "")
    for line_end in element.iter("br"):
        line_end.text = line_break
    etree: Any = import_module("lxml.etree")
    return str(etree.tostring(element, method="text", encoding="unicode", with_tail=False))


def _fence_code(element: Any) -> str:
    """Return a `<pre>` as a fenced block with the language from its class; "" without code."""
    parents = [element.getparent()] if element.getparent() is not None else []
    classes = (str(node.get("class") or "") for node in (*element.iter("*"), *parents))
    language = _LANGUAGE.search(" ".join(classes))
    code = _read_code(element, line_break="\n").strip("\n")
    return fence_code(code, language[1] if language else "") if code.strip() else ""


def _is_paragraph(element: Any) -> bool:
    """Return whether an inline element is a whole paragraph, as in `<p><q>…</q></p>`."""
    parent, previous, following = element.getparent(), element.getprevious(), element.getnext()
    text_before = parent.text if previous is None else previous.tail
    return (
        parent.tag in _PARAGRAPH_PARENTS
        and not (text_before or "").strip()
        and not (element.tail or "").strip()
        and all(node is None or node.tag in BLOCK_TAGS for node in (previous, following))
    )


def _convert_number(pieces: list[str | _Block], tag: str) -> list[str | _Block]:
    """Write a number in superscript or subscript characters; other text stays as it is."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    text = "".join(texts)
    is_number = _NUMBER.fullmatch(text.strip()) and not (tag == "sub" and text.strip() == "n")
    if len(texts) < len(pieces) or not is_number:
        return pieces
    return [text.translate(_SUPERSCRIPTS if tag == "sup" else _SUBSCRIPTS)]


def _mark_pieces(pieces: list[str | _Block], mark: str) -> list[str | _Block]:
    """Put marks around the inline text, or around each paragraph if blocks are inside."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    if len(texts) == len(pieces):
        return [_mark_text("".join(texts), mark)]
    marked: list[str | _Block] = [
        block._replace(text=_mark_text(block.text, mark)) if block.kind == "paragraph" else block
        for block in _end_paragraphs(pieces)
    ]
    return [*marked, _Block("")]


def _mark_text(text: str, mark: str, *, has_outer_spaces: bool = True) -> str:
    """Put marks around a text, but not around outer spaces that are not the author's code."""
    words = text.strip() if has_outer_spaces else text
    if not words:
        return text
    start, end = text.index(words), text.index(words) + len(words)
    if mark == "`":
        longest_run = max(map(len, re.findall("`+", words)), default=0)
        mark = "`" * (longest_run + 1)
        words = f" {words} " if "`" in words[0] + words[-1] else words
    return f"{text[:start]}{_SPAN_START}{mark}{words}{mark}{_SPAN_END}{text[end:]}"


def _end_paragraphs(pieces: list[str | _Block]) -> list[_Block]:
    """Turn the inline text between blocks into paragraphs, and leave out empty blocks."""
    blocks: list[_Block] = []
    texts: list[str] = []
    for piece in (*pieces, _Block("")):
        if isinstance(piece, str):
            texts.append(piece)
            continue
        text = "".join(texts)
        texts.clear()
        if not text.isascii():
            text = _SOURCE_LINE_END.sub(_join_lines, text)
        lines = (_SPACES.sub(" ", line).strip() for line in text.split(_LINE_BREAK))
        if paragraph := "\n".join(line for line in lines if line):
            blocks.append(_Block("paragraph", paragraph))
        if piece.text or piece.parts or piece.kind == "cell":
            blocks.append(piece)
    return blocks


def _join_lines(line_end: re.Match[str]) -> str:
    """Return the end of a source line between scripts without spaces (Chinese, Japanese) as ""."""
    is_wide = all(
        unicodedata.east_asian_width(character) in {"W", "F"}
        and not ("\uac00" <= character <= "\ud7a3")  # Hangul has spaces
        for character in line_end.groups()
    )
    return line_end[1] if is_wide else line_end[0]


def _build_blocks(tag: str, element: Any, blocks: list[_Block]) -> list[_Block]:
    """Return the blocks of a block element."""
    match tag:
        case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
            words = " ".join(block.text.replace("\n", " ") for block in blocks)
            is_plain = all(block.kind == "paragraph" for block in blocks)
            return [_Block("", _HEADINGS[tag] + words)] if words and is_plain else blocks
        case "li" | "dt" | "dd":
            return [_Block("item", parts=blocks)]
        case "ul" | "ol" | "dl" | "menu":
            return [_build_list(tag, element, blocks)]
        case "blockquote":
            quotation = "\n\n".join(_list_texts(blocks))
            return [_Block("", _indent(quotation, first_prefix="> ", next_prefix="> "))]
        case "td" | "th":
            return [_Block("cell", parts=blocks)]
        case "tr":
            cells = [block for block in blocks if block.kind == "cell"]
            others = [block for block in blocks if block.kind != "cell"]
            return [*others, _Block("row", parts=cells)]
        case "table":
            return _build_table(blocks)
        case _:
            return blocks


def _build_list(tag: str, element: Any, blocks: list[_Block]) -> _Block:
    """Return a list; content between its items continues the last one."""
    start = str(element.get("start") or "")
    number = int(start) if start.isdecimal() and len(start) <= _MAX_DIGITS else 1
    items: list[tuple[str, list[_Block]]] = []
    for block in blocks:
        if block.kind != "item" and items:
            items[-1][1].append(block)
        elif block.kind != "item" or block.parts:
            mark = f"{number + len(items)}. " if tag == "ol" else "- "
            items.append((mark, list(block.parts) if block.kind == "item" else [block]))
    is_loose = element.find("li/p") is not None or any(
        sum(block.kind != "list" for block in parts) > 1 for _, parts in items
    )
    separator = "\n\n" if is_loose else "\n"
    texts = (
        _indent(separator.join(_list_texts(parts)), first_prefix=mark) for mark, parts in items
    )
    return _Block("list", separator.join(texts))


def _build_table(blocks: list[_Block]) -> list[_Block]:
    """Return a Markdown table, or only its blocks if it has one column, code or a list."""
    others = [block for block in blocks if block.kind != "row"]
    rows = [row.parts for row in blocks if row.kind == "row" and any(c.parts for c in row.parts)]
    column_count = max((len(row) for row in rows), default=0)
    contents = [block for row in rows for cell in row for block in cell.parts]
    if column_count < 2 or any(block.kind != "paragraph" for block in contents):
        return others + contents
    lines: list[str] = []
    for row in rows:
        # A line end or a bare pipe would end the cell.
        cells = [" ".join(_list_texts(cell.parts)).replace("\n", " ") for cell in row]
        cells += [""] * (column_count - len(cells))
        lines.append("| " + " | ".join(_BARE_PIPE.sub(r"\\|", cell) for cell in cells) + " |")
    lines[1:1] = ["|" + " --- |" * column_count] if len(lines) > 1 else []
    return [*others, _Block("", "\n".join(lines))]


def _list_texts(blocks: Iterable[_Block]) -> Iterator[str]:
    """Yield the texts of blocks, also of items, rows and cells outside a list or a table."""
    for block in blocks:
        if block.kind == "item":
            yield _indent("\n".join(_list_texts(block.parts)), first_prefix="- ")
        elif block.parts:
            yield from _list_texts(block.parts)
        elif block.text:
            yield block.text


def _indent(text: str, *, first_prefix: str, next_prefix: str = "") -> str:
    """Put a prefix before the first line, and `next_prefix` or spaces before each further line."""
    next_prefix = next_prefix or " " * len(first_prefix)
    first_line, *next_lines = text.split("\n")
    lines = [first_prefix + first_line, *(next_prefix + line for line in next_lines)]
    return "\n".join(line.rstrip() for line in lines) if text else ""
