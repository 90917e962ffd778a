"""Convert an HTML tree to Markdown in one pass, keeping every word and leaving code unchanged.

Scope: the Markdown equivalent of each tag. Out of scope: choosing the part of a page that is the
post (`html_cleaning`), text without tags (`html_fragment`).
Tags: https://html.spec.whatwg.org/multipage/, Markdown: https://spec.commonmark.org/,
https://github.github.com/gfm/#tables-extension-

White space is collapsed as in a browser. An unknown tag is replaced with its text. The traversal
uses an explicit stack, because a post with a thousand open tags would exceed Python's recursion
limit.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from twin_assets.corpus.code_blocks import fence_code
from twin_assets.corpus.template_tags import remove_template_tags

DROPPED_TAGS = frozenset(
    {"img", "video", "audio", "iframe", "object", "svg", "script", "style", "noscript", "form"}
    | {"template", "canvas", "button", "select", "textarea", "title"}
)
"""Elements whose content is not part of a post's text."""

PLACEHOLDER = re.compile(r"twincodeblock(\d+)end")
"""Placeholder for `code_blocks[n]`; an extractor would damage the code block itself."""

FORMULA = "twinmath"
"""The name of the element, or the class of a `<pre>`, that contains an unchanged formula."""

_INLINE_MARKS = {"em": "*", "i": "*", "strong": "**", "b": "**", "q": '"'} | {
    **dict.fromkeys(("s", "del", "strike"), "~~"),
    "sup": "^",
    "sub": "_",
}
# Superscript or subscript digits are part of a number (`10⁶`); letters (`4th`) stay unchanged.
_SUPERSCRIPTS = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_SUBSCRIPTS = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_NUMBER = re.compile(r"[0-9+−=()n-]{1,12}")
# A footnote mark, or the link back from the footnote: a link within the page without words.
_FOOTNOTE_LINK = re.compile(r"#.{0,80}?(?:fn|note|ftn|ref|cite)", re.IGNORECASE)
_FOOTNOTE_MARK = re.compile(r"[\[(^]?[\d*†‡↩↑^]{0,4}[\])]?\ufe0e?")
_DUPLICATE_FORMULA_CLASSES = frozenset(
    {"katex-html", "MathJax_Preview", "MathJax", "MJX_Assistive_MathML"}
)
# Text that a Markdown parser would interpret as a tag or a character reference.
_HTML_LIKE_TEXT = re.compile(r"<(?=/?[A-Za-z][\w-]{0,60}(?:\s[^<>]{0,500})?/?>)|&(?=#?\w{1,31};)")
_BARE_PIPE = re.compile(r"(?<!\\)\|")
_CODE_TAGS = frozenset({"code", "tt"})
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_LIST_TAGS = frozenset({"ul", "ol", "dl", "menu"})
_ITEM_TAGS = frozenset({"li", "dt", "dd"})
_CELL_TAGS = frozenset({"td", "th"})
_CONTAINER_TAGS = frozenset(
    {*_HEADINGS, *_LIST_TAGS, *_ITEM_TAGS, *_CELL_TAGS, "blockquote", "table", "tr"}
)
_BLOCK_TAGS = frozenset(
    {"p", "div", "section", "article", "header", "footer", "main", "aside", "nav", "address"}
    | {"figure", "figcaption", "details", "summary", "hr", "center", "fieldset", "legend"}
    | {"caption", "thead", "tbody", "tfoot", "body", "hgroup", "dialog", "pre"}
)
_PARAGRAPH_PARENTS = frozenset(
    {"p", "div", "li", "dd", "section", "article", "figure", "center", "body"}
)
_SPACES = re.compile(r"\s+")
_BACKTICKS = re.compile("`+")
_LANGUAGE = re.compile(r"\b(?:language|lang|highlight-source)-([\w+#-]+)")
_MAX_DIGITS = 9  # maximum length of a list item's number, as in CommonMark


def tree_to_markdown(tree: Any, *, code_blocks: Sequence[str] = ()) -> str:
    """Convert an lxml element with all its content to Markdown.

    Args:
        code_blocks: fenced blocks that replace the placeholders in the text.

    Returns:
        Blocks separated by one empty line; a paragraph is one line except for `<br>`.
    """
    etree: Any = import_module("lxml.etree")
    for element in tree.iter("q"):
        if _is_paragraph(element):
            element.tag = "blockquote"
    writer = _Writer(code_blocks)
    skipped_element: Any = None
    walk: Any = etree.iterwalk(tree, events=("start", "end", "comment", "pi"))
    for event, element in walk:
        if event == "start":
            tag = element.tag
            if tag == "pre":
                writer.write_code(element)
                walk.skip_subtree()
            elif tag in DROPPED_TAGS or (
                tag in _ATTRIBUTE_DEPENDENT_TAGS and _has_relevant_attributes(tag, element)
            ):
                formula = _extract_formula_tex(element)
                if formula is None and tag not in DROPPED_TAGS and not _is_redundant(element):
                    writer.open(tag, element)
                    if element.text:
                        writer.write(element.text)
                    continue
                writer.write_verbatim(formula or "")
                walk.skip_subtree()
                skipped_element = element
            else:
                writer.open(tag, element)
                if element.text:
                    writer.write(element.text)
            continue
        if event == "end" and element is not skipped_element:
            writer.close(element.tag)
        if element.tail and element is not tree:
            writer.write(element.tail)
    return writer.finish()


def _is_paragraph(element: Any) -> bool:
    """Return whether an inline element is a whole paragraph, as in `<p><q>…</q></p>`."""
    parent = element.getparent()
    previous_element = element.getprevious()
    next_element = element.getnext()
    return (
        parent is not None
        and parent.tag in _PARAGRAPH_PARENTS
        and not (element.tail or "").strip()
        and not ((parent.text if previous_element is None else previous_element.tail) or "").strip()
        and all(
            sibling is None or sibling.tag in _BLOCK_TAGS
            for sibling in (previous_element, next_element)
        )
    )


_ATTRIBUTE_DEPENDENT_TAGS = frozenset({FORMULA, "math", "sup", "a", "span"})


def _has_relevant_attributes(tag: str, element: Any) -> bool:
    """Return whether an element's attributes matter, unlike those of most links and spans."""
    if tag == "a":
        return str(element.get("href") or "")[:1] == "#"
    return tag != "span" or element.get("class") in _DUPLICATE_FORMULA_CLASSES


def _extract_formula_tex(element: Any) -> str | None:
    """Return the TeX of an element that shows a formula, or None for any other element."""
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


def _is_redundant(element: Any) -> bool:
    """Return whether an element is a footnote mark or repeats a formula."""
    if element.tag == "span":
        return str(element.get("class") or "") in _DUPLICATE_FORMULA_CLASSES
    link = element if element.tag == "a" else next(iter(element), None)
    if link is None or link.tag != "a":
        return False
    target = str(link.get("href") or "")
    return (
        target.startswith("#")
        and bool(_FOOTNOTE_LINK.match(target))
        and bool(_FOOTNOTE_MARK.fullmatch("".join(element.itertext()).strip()))
    )


def convert_formulas_and_footnotes(tree: Any) -> None:
    """Turn formulas, superscript numbers and footnote marks into text before extraction.

    The extractor does not support them. Redundant elements are removed.
    """
    for element in list(tree.iter("script", "math", "sup", "sub", "a", "span")):
        formula = _extract_formula_tex(element)
        if element.getparent() is None or (formula is None and element.tag in {"script", "math"}):
            continue
        if formula is not None:
            element.tail = formula + (element.tail or "")
            element.drop_tree()
        elif _is_redundant(element):
            element.drop_tree()
        elif element.tag in {"sup", "sub"} and not len(element):
            element.text = _to_superscript_or_subscript(
                element.text or "", "^" if element.tag == "sup" else "_"
            )


def _to_superscript_or_subscript(text: str, mark: str) -> str:
    """Return numbers in superscript (`^`) or subscript (`_`) characters; keep other text."""
    if not _NUMBER.fullmatch(text.strip()) or (text.strip() == "n" and mark == "_"):
        return text
    return text.translate(_SUPERSCRIPTS if mark == "^" else _SUBSCRIPTS)


def pre_to_fenced_block(element: Any) -> str:
    """Return a `<pre>` as a fenced block with the language from its class; "" without code."""
    parents = [element.getparent()] if element.getparent() is not None else []
    classes = (str(node.get("class") or "") for node in (*element.iter("*"), *parents))
    language = _LANGUAGE.search(" ".join(classes))
    for line_break in element.iter("br"):
        line_break.text = "\n"
    etree: Any = import_module("lxml.etree")
    text = etree.tostring(element, method="text", encoding="unicode", with_tail=False)
    code = str(text).strip("\n")
    return fence_code(code, language[1] if language else "") if code.strip() else ""


@dataclass(slots=True)
class _Container:
    """An open element that collects its blocks.

    Attributes:
        blocks: the finished blocks of the element.
        next_number: the number of the next item in a numbered list.
        prose_count: the number of blocks that are not lists; a list is loose if one of its items
            has two such blocks.
        is_plain: whether all blocks are paragraphs; otherwise the element does not fit into a
            table.
        items: the mark and the blocks of each list item.
        cells: the blocks of each cell in a row.
        rows: the cells of each row in a table.
    """

    tag: str
    next_number: int = 1
    blocks: list[str] = field(default_factory=list[str])
    prose_count: int = 0
    is_plain: bool = True
    items: list[tuple[str, list[str]]] = field(default_factory=list[tuple[str, list[str]]])
    cells: list[list[str]] = field(default_factory=list[list[str]])
    rows: list[list[list[str]]] = field(default_factory=list[list[list[str]]])

    def add(self, block: str, *, is_prose: bool = True, is_plain: bool = False) -> None:
        if not block:
            return
        if self.tag not in _LIST_TAGS:
            self.blocks.append(block)
            self.prose_count += is_prose
        elif self.items:  # content between list items continues the last item
            self.items[-1][1].append(block)
            self.prose_count += 2 * is_prose
        else:
            self.items.append(("- ", [block]))
        self.is_plain &= is_plain


class _Writer:
    """Markdown writer with the blocks of open elements and the inline parts of the next block."""

    def __init__(self, code_blocks: Sequence[str]) -> None:
        self._code_blocks = code_blocks
        self._open_containers = [_Container("")]
        self._inline_parts: list[str] = []
        self._marks: list[tuple[str, int]] = []  # open marks and their start indexes
        # The last closed mark, and the number of inline parts when it was closed.
        self._last_closed_mark = ("", 0)
        self._code_depth = 0

    def write(self, text: str) -> None:
        if not self._code_depth:
            text = remove_template_tags(text)
            if "<" in text or "&" in text:
                text = _HTML_LIKE_TEXT.sub(r"\\\g<0>", text)
        self._inline_parts.append(_SPACES.sub(" ", text))

    def write_verbatim(self, text: str) -> None:
        if text:
            self._inline_parts.append(text)

    def write_code(self, element: Any) -> None:
        self._end_paragraph()
        if element.get("class") == FORMULA:
            self._open_containers[-1].add(str(element.text or ""))
        else:
            self._open_containers[-1].add(pre_to_fenced_block(element))

    def open(self, tag: str, element: Any) -> None:
        if tag in _INLINE_MARKS:
            self._marks.append((_INLINE_MARKS[tag], len(self._inline_parts)))
        elif tag in _CODE_TAGS:
            self._marks.append(("`", len(self._inline_parts)))
            self._code_depth += 1
        elif tag == "br":
            self._inline_parts.append("\n")
        elif tag in _CONTAINER_TAGS:
            self._end_paragraph()
            start = str(element.get("start") or "") if tag == "ol" else ""
            first_number = int(start) if start.isdecimal() and len(start) <= _MAX_DIGITS else 1
            self._open_containers.append(_Container(tag, next_number=first_number))
        elif tag in _BLOCK_TAGS:
            self._end_paragraph()

    def close(self, tag: str) -> None:
        if tag in _INLINE_MARKS:
            mark, start = self._marks.pop()
            self._apply_mark(mark, start)
        elif tag in _CODE_TAGS:
            self._code_depth -= 1
            self._end_code(*self._marks.pop())
        elif tag in _CONTAINER_TAGS:
            self._end_paragraph()
            self._end_container(self._open_containers.pop())
        elif tag in _BLOCK_TAGS:
            self._end_paragraph()

    def finish(self) -> str:
        self._end_paragraph()
        return "\n\n".join(self._open_containers[0].blocks)

    def _end_code(self, mark: str, start: int) -> None:
        code = "".join(self._inline_parts[start:])
        if "\n" not in code.strip() or self._code_depth or self._marks:
            self._apply_mark(mark, start)
            return
        del self._inline_parts[start:]
        self._end_paragraph()
        self._open_containers[-1].add(fence_code(code.strip("\n")))

    def _apply_mark(self, mark: str, start: int) -> None:
        """Put marks around the parts from index `start`, but not around outer spaces."""
        text = "".join(self._inline_parts[start:])
        words = text.strip()
        joins_previous = self._last_closed_mark == (mark, start) and text[:1] == words[:1]
        del self._inline_parts[start:]
        if not words or (self._code_depth and mark != '"'):
            self._inline_parts.append(text)
            return
        if mark in "^_":
            self._inline_parts.append(_to_superscript_or_subscript(text, mark))
            return
        leading_space = text[: text.index(words)]
        trailing_space = text[text.index(words) + len(words) :]
        if mark == "`":
            mark = "`" * (max((len(run) for run in _BACKTICKS.findall(words)), default=0) + 1)
            words = f" {words} " if "`" in words[:1] + words[-1:] else words
            joins_previous = joins_previous and len(mark) == 1
        # `<b>a</b><b>b</b>` is one span, but `**a****b**` is not valid.
        if joins_previous and self._inline_parts and mark != '"':
            self._inline_parts[-1] = self._inline_parts[-1].removesuffix(mark) + words + mark
        else:
            self._inline_parts.append(f"{leading_space}{mark}{words}{mark}")
        self._last_closed_mark = (mark, len(self._inline_parts)) if not trailing_space else ("", 0)
        if trailing_space:
            self._inline_parts.append(trailing_space)

    def _end_paragraph(self) -> None:
        if not self._inline_parts:
            return
        for mark, start in reversed(self._marks):
            self._apply_mark(mark, start)
        self._marks = [(mark, 0) for mark, _ in self._marks]
        text = "".join(self._inline_parts)
        self._inline_parts, self._last_closed_mark = [], ("", 0)
        lines = [_SPACES.sub(" ", line).strip() for line in text.split("\n")]
        text = "\n".join(line for line in lines if line)
        if self._code_blocks and "twincodeblock" in text:
            self._add_with_code_blocks(text)
        else:
            self._open_containers[-1].add(text, is_plain=True)

    def _add_with_code_blocks(self, text: str) -> None:
        position = 0
        for match in PLACEHOLDER.finditer(text):
            if int(match[1]) < len(self._code_blocks):
                self._open_containers[-1].add(text[position : match.start()].strip(), is_plain=True)
                self._open_containers[-1].add(self._code_blocks[int(match[1])])
                position = match.end()
        self._open_containers[-1].add(text[position:].strip(), is_plain=True)

    def _end_container(self, container: _Container) -> None:
        parent = self._open_containers[-1]
        if container.tag in _HEADINGS:
            words = " ".join(" ".join(container.blocks).split("\n"))
            if container.is_plain:
                parent.add(_HEADINGS[container.tag] + words if words else "")
            else:  # a code block in a heading
                self._add_blocks(container.blocks, parent)
        elif container.tag in _ITEM_TAGS:
            mark = f"{parent.next_number}. " if parent.tag == "ol" else "- "
            if parent.tag not in _LIST_TAGS:
                parent.add(indent("\n".join(container.blocks), first_prefix="- "), is_prose=False)
            elif container.blocks:
                parent.next_number += 1
                parent.prose_count = max(parent.prose_count, container.prose_count)
                parent.items.append((mark, container.blocks))
        elif container.tag in _LIST_TAGS:
            parent.add(_render_list(container), is_prose=False)
        elif container.tag == "blockquote":
            parent.add(indent("\n\n".join(container.blocks), first_prefix="> ", next_prefix="> "))
        elif container.tag in _CELL_TAGS and parent.tag == "tr":
            parent.cells.append(container.blocks)
            parent.is_plain &= container.is_plain
        elif container.tag == "tr" and parent.tag == "table":
            parent.rows.append(container.cells)
            parent.is_plain &= container.is_plain
            self._add_blocks(container.blocks, parent)
        elif container.tag == "table":
            self._end_table(container, parent)
        else:  # a row or a cell outside a table
            self._add_blocks(
                [*(" ".join(cell) for cell in container.cells), *container.blocks], parent
            )

    def _end_table(self, container: _Container, parent: _Container) -> None:
        """Write a Markdown table, or only its blocks if it has one column, code or a list."""
        self._add_blocks(container.blocks, parent)
        rows = [row for row in container.rows if any(row)]
        column_count = max((len(row) for row in rows), default=0)
        if column_count < 2 or not container.is_plain:
            self._add_blocks([block for row in rows for cell in row for block in cell], parent)
            return
        padded_rows = ([*row, *([[]] * (column_count - len(row)))] for row in rows)
        parent.add(render_table([[" ".join(cell) for cell in row] for row in padded_rows]))

    @staticmethod
    def _add_blocks(blocks: Sequence[str], parent: _Container) -> None:
        for block in blocks:
            parent.add(block)


def render_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first row is the header; all rows have the same length."""
    lines = [
        # A line end or a bare pipe would end the cell.
        "| " + " | ".join(_BARE_PIPE.sub(r"\\|", cell.replace("\n", " ")) for cell in row) + " |"
        for row in rows
    ]
    lines[1:1] = ["|" + " --- |" * len(rows[0])] if len(lines) > 1 else []
    return "\n".join(lines)


def _render_list(container: _Container) -> str:
    separator = "\n\n" if container.prose_count > 1 else "\n"
    return separator.join(
        indent(separator.join(blocks), first_prefix=mark) for mark, blocks in container.items
    )


def indent(text: str, *, first_prefix: str, next_prefix: str = "") -> str:
    """Put a prefix before the first line, and `next_prefix` or spaces before each further line."""
    next_prefix = next_prefix or " " * len(first_prefix)
    first_line, *next_lines = text.split("\n")
    indented_lines = [
        first_prefix + first_line.rstrip(),
        *((next_prefix + line).rstrip() for line in next_lines),
    ]
    return "\n".join(indented_lines) if text else ""
