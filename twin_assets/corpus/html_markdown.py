"""Convert an HTML tree to Markdown in one walk, keeping every word and leaving code unchanged.

Scope: the meaning of a tag in Markdown. Out of scope: choosing the part of a page that is the post
(`html_cleaning`), text without tags (`html_fragment`).
Tags: https://html.spec.whatwg.org/multipage/, Markdown: https://spec.commonmark.org/,
https://github.github.com/gfm/#tables-extension-

White space is collapsed as in a browser. An unknown tag is replaced by its words. The walk keeps
its own stack, because a post with a thousand open tags must not reach Python's recursion limit.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from twin_assets.corpus.code_blocks import fenced
from twin_assets.corpus.template_tags import without_template_tags

DROPPED = frozenset(
    {"img", "video", "audio", "iframe", "object", "svg", "script", "style", "noscript", "form"}
    | {"template", "canvas", "button", "select", "textarea", "title"}
)
"""Elements that contain no words of a post."""

PLACEHOLDER = re.compile(r"twincodeblock(\d+)end")
"""Placeholder for `codes[n]`: it carries a code block through an extractor that would damage it."""

FORMULA = "twinmath"
"""The element, or the class of a `<pre>`, that contains an unchanged formula."""

_INLINE_MARKS = {"em": "*", "i": "*", "strong": "**", "b": "**", "q": '"'} | {
    **dict.fromkeys(("s", "del", "strike"), "~~"),
    "sup": "^",
    "sub": "_",
}
# Raised or lowered digits are part of a number, `10⁶`; letters (`4th`) stay unchanged.
_RAISED = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_LOWERED = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_NUMBER = re.compile(r"[0-9+−=()n-]{1,12}")
# A footnote's mark, or the link back from it: a link within the page that has no words.
_NOTE_LINK = re.compile(r"#.{0,80}?(?:fn|note|ftn|ref|cite)", re.IGNORECASE)
_NOTE_WORDS = re.compile(r"[\[(^]?[\d*†‡↩↑^]{0,4}[\])]?\ufe0e?")
_SHOWN_TWICE = frozenset({"katex-html", "MathJax_Preview", "MathJax", "MJX_Assistive_MathML"})
# Text that any reader of this Markdown would take for a tag or a named character.
_LIKE_HTML = re.compile(r"<(?=/?[A-Za-z][\w-]{0,60}(?:\s[^<>]{0,500})?/?>)|&(?=#?\w{1,31};)")
_BARE_PIPE = re.compile(r"(?<!\\)\|")
_CODE = frozenset({"code", "tt"})
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_LISTS = frozenset({"ul", "ol", "dl", "menu"})
_ITEMS = frozenset({"li", "dt", "dd"})
_CELLS = frozenset({"td", "th"})
_CONTAINERS = frozenset({*_HEADINGS, *_LISTS, *_ITEMS, *_CELLS, "blockquote", "table", "tr"})
_BLOCKS = frozenset(
    {"p", "div", "section", "article", "header", "footer", "main", "aside", "nav", "address"}
    | {"figure", "figcaption", "details", "summary", "hr", "center", "fieldset", "legend"}
    | {"caption", "thead", "tbody", "tfoot", "body", "hgroup", "dialog", "pre"}
)
_HOLD_PARAGRAPHS = frozenset(
    {"p", "div", "li", "dd", "section", "article", "figure", "center", "body"}
)
_SPACES = re.compile(r"\s+")
_BACK_TICKS = re.compile("`+")
_LANGUAGE = re.compile(r"\b(?:language|lang|highlight-source)-([\w+#-]+)")
_MAX_DIGITS = 9  # in the number of a list item, as in CommonMark


def markdown_of(tree: Any, *, codes: Sequence[str] = ()) -> str:
    """Render an lxml element with all its content.

    Args:
        codes: fenced blocks that replace the placeholders in the text.

    Returns:
        Blocks separated by one empty line; a paragraph is one line except for `<br>`.
    """
    etree: Any = import_module("lxml.etree")
    for element in tree.iter("q"):
        if _is_paragraph(element):
            element.tag = "blockquote"
    writer = _Writer(codes)
    skipped: Any = None
    walk: Any = etree.iterwalk(tree, events=("start", "end", "comment", "pi"))
    for event, element in walk:
        if event == "start":
            tag = element.tag
            if tag == "pre":
                writer.write_code(element)
                walk.skip_subtree()
            elif tag in DROPPED or (tag in _LOOKED_AT and _is_looked_at(tag, element)):
                formula = _formula(element)
                if formula is None and tag not in DROPPED and not _says_nothing(element):
                    writer.open(tag, element)
                    if element.text:
                        writer.write(element.text)
                    continue
                writer.write_as_it_is(formula or "")
                walk.skip_subtree()
                skipped = element
            else:
                writer.open(tag, element)
                if element.text:
                    writer.write(element.text)
            continue
        if event == "end" and element is not skipped:
            writer.close(element.tag)
        if element.tail and element is not tree:
            writer.write(element.tail)
    return writer.finished()


def _is_paragraph(element: Any) -> bool:
    """Return whether an inline element is a whole paragraph: `<p><q>…</q></p>`."""
    parent, before, after = element.getparent(), element.getprevious(), element.getnext()
    return (
        parent is not None
        and parent.tag in _HOLD_PARAGRAPHS
        and not (element.tail or "").strip()
        and not ((parent.text if before is None else before.tail) or "").strip()
        and all(one is None or one.tag in _BLOCKS for one in (before, after))
    )


_LOOKED_AT = frozenset({FORMULA, "math", "sup", "a", "span"})


def _is_looked_at(tag: str, element: Any) -> bool:
    """Return whether an element's attributes matter; those of most links and spans do not."""
    if tag == "a":
        return str(element.get("href") or "")[:1] == "#"
    return tag != "span" or element.get("class") in _SHOWN_TWICE


def _formula(element: Any) -> str | None:
    """Return the TeX of an element that shows a formula, or None if it shows none."""
    if element.tag == FORMULA:
        return str(element.text or "")
    if element.tag == "script" and "math/tex" in str(element.get("type") or ""):
        tex, displayed = str(element.text or ""), "display" in str(element.get("type"))
    elif element.tag == "math":
        notes = [str(one.text or "") for one in element.iter("annotation")]
        tex = (notes or [str(element.get("alttext") or "")])[0]
        displayed = element.get("display") == "block"
    else:
        return None
    mark = "$$" if displayed else "$"
    return f"{mark}{tex.strip()}{mark}" if tex.strip() else None


def _says_nothing(element: Any) -> bool:
    """Return whether an element is a footnote's mark or repeats a formula."""
    if element.tag == "span":
        return str(element.get("class") or "") in _SHOWN_TWICE
    link = element if element.tag == "a" else next(iter(element), None)
    if link is None or link.tag != "a":
        return False
    target = str(link.get("href") or "")
    return (
        target.startswith("#")
        and bool(_NOTE_LINK.match(target))
        and bool(_NOTE_WORDS.fullmatch("".join(element.itertext()).strip()))
    )


def keep_small_parts(tree: Any) -> None:
    """Turn formulas, raised numbers and footnote marks into text before the page is extracted.

    The extractor supports none of them. Elements without meaning are removed.
    """
    for element in list(tree.iter("script", "math", "sup", "sub", "a", "span")):
        parent, formula = element.getparent(), _formula(element)
        if parent is None or (formula is None and element.tag in {"script", "math"}):
            continue
        if formula is not None:
            _replace_by_text(element, parent, formula)
        elif _says_nothing(element):
            _replace_by_text(element, parent, "")
        elif element.tag in {"sup", "sub"} and not len(element):
            element.text = _raised(element.text or "", "^" if element.tag == "sup" else "_")


def _replace_by_text(element: Any, parent: Any, text: str) -> None:
    before = element.getprevious()
    text += element.tail or ""
    if before is not None:
        before.tail = (before.tail or "") + text
    else:
        parent.text = (parent.text or "") + text
    parent.remove(element)


def _raised(words: str, mark: str) -> str:
    """Return words that are raised (`^`) or lowered (`_`), with numbers as such characters."""
    if not _NUMBER.fullmatch(words.strip()) or (words.strip() == "n" and mark == "_"):
        return words
    return words.translate(_RAISED if mark == "^" else _LOWERED)


def code_of(element: Any) -> str:
    """Return a `<pre>` as a fenced block, with a language named by a class; "" without code."""
    around = [element.getparent()] if element.getparent() is not None else []
    classes = (str(node.get("class") or "") for node in (*element.iter("*"), *around))
    language = _LANGUAGE.search(" ".join(classes))
    for line_break in element.iter("br"):
        line_break.text = "\n"
    etree: Any = import_module("lxml.etree")
    text = etree.tostring(element, method="text", encoding="unicode", with_tail=False)
    code = str(text).strip("\n")
    return fenced(code, language[1] if language else "") if code.strip() else ""


@dataclass(slots=True)
class _Container:
    """An open element that combines its blocks.

    Attributes:
        blocks: its finished blocks.
        prose: the number of blocks that are not lists; a list with two of them in an item is loose.
        plain: whether all blocks are paragraphs; if not, the element does not fit into a table.
        items: the mark and the blocks of each item of a list.
        cells: the blocks of each cell of a row; a table has `rows`.
    """

    tag: str
    number: int = 1
    blocks: list[str] = field(default_factory=list[str])
    prose: int = 0
    plain: bool = True
    items: list[tuple[str, list[str]]] = field(default_factory=list[tuple[str, list[str]]])
    cells: list[list[str]] = field(default_factory=list[list[str]])
    rows: list[list[list[str]]] = field(default_factory=list[list[list[str]]])

    def add(self, block: str, *, prose: bool = True, plain: bool = False) -> None:
        if not block:
            return
        if self.tag not in _LISTS:
            self.blocks.append(block)
            self.prose += prose
        elif self.items:  # in the list but in no item: it continues the last item
            self.items[-1][1].append(block)
            self.prose += 2 * prose
        else:
            self.items.append(("- ", [block]))
        self.plain &= plain


class _Writer:
    """The blocks of the open elements, and the inline pieces that will form the next block."""

    def __init__(self, codes: Sequence[str]) -> None:
        self._codes = codes
        self._open = [_Container("")]
        self._run: list[str] = []
        self._marks: list[tuple[str, int]] = []  # open marks, and where in the run they began
        self._closed = ("", 0)  # the last closed mark, and the length of the run at that point
        self._in_code = 0

    def write(self, text: str) -> None:
        if not self._in_code:
            text = without_template_tags(text)
            if "<" in text or "&" in text:
                text = _LIKE_HTML.sub(r"\\\g<0>", text)
        self._run.append(_SPACES.sub(" ", text))

    def write_as_it_is(self, text: str) -> None:
        if text:
            self._run.append(text)

    def write_code(self, element: Any) -> None:
        self._end_paragraph()
        if element.get("class") == FORMULA:
            self._open[-1].add(str(element.text or ""))
        else:
            self._open[-1].add(code_of(element))

    def open(self, tag: str, element: Any) -> None:
        if tag in _INLINE_MARKS:
            self._marks.append((_INLINE_MARKS[tag], len(self._run)))
        elif tag in _CODE:
            self._marks.append(("`", len(self._run)))
            self._in_code += 1
        elif tag == "br":
            self._run.append("\n")
        elif tag in _CONTAINERS:
            self._end_paragraph()
            start = str(element.get("start") or "") if tag == "ol" else ""
            first = int(start) if start.isdecimal() and len(start) <= _MAX_DIGITS else 1
            self._open.append(_Container(tag, number=first))
        elif tag in _BLOCKS:
            self._end_paragraph()

    def close(self, tag: str) -> None:
        if tag in _INLINE_MARKS:
            mark, start = self._marks.pop()
            self._mark(mark, start)
        elif tag in _CODE:
            self._in_code -= 1
            self._end_code(*self._marks.pop())
        elif tag in _CONTAINERS:
            self._end_paragraph()
            self._end_container(self._open.pop())
        elif tag in _BLOCKS:
            self._end_paragraph()

    def finished(self) -> str:
        self._end_paragraph()
        return "\n\n".join(self._open[0].blocks)

    def _end_code(self, mark: str, start: int) -> None:
        lines = "".join(self._run[start:])
        if "\n" not in lines.strip() or self._in_code or self._marks:
            self._mark(mark, start)
            return
        del self._run[start:]
        self._end_paragraph()
        self._open[-1].add(fenced(lines.strip("\n")))

    def _mark(self, mark: str, start: int) -> None:
        """Put marks around the text since `start`, leaving spaces at its ends outside."""
        inner = "".join(self._run[start:])
        words = inner.strip()
        joins = self._closed == (mark, start) and inner[:1] == words[:1]
        del self._run[start:]
        if not words or (self._in_code and mark != '"'):
            self._run.append(inner)
            return
        if mark in "^_":
            self._run.append(_raised(inner, mark))
            return
        before, after = inner[: inner.index(words)], inner[inner.index(words) + len(words) :]
        if mark == "`":
            mark = "`" * (max((len(run) for run in _BACK_TICKS.findall(words)), default=0) + 1)
            words = f" {words} " if "`" in words[:1] + words[-1:] else words
            joins = joins and len(mark) == 1
        if joins and self._run and mark != '"':  # `<b>a</b><b>b</b>` is one: `**a****b**` is not
            self._run[-1] = self._run[-1].removesuffix(mark) + words + mark
        else:
            self._run.append(f"{before}{mark}{words}{mark}")
        self._closed = (mark, len(self._run)) if not after else ("", 0)
        if after:
            self._run.append(after)

    def _end_paragraph(self) -> None:
        if not self._run:
            return
        for mark, start in reversed(self._marks):
            self._mark(mark, start)
        self._marks = [(mark, 0) for mark, _ in self._marks]
        text = "".join(self._run)
        self._run, self._closed = [], ("", 0)
        lines = [_SPACES.sub(" ", line).strip() for line in text.split("\n")]
        text = "\n".join(line for line in lines if line)
        if self._codes and "twincodeblock" in text:
            self._add_with_codes(text)
        else:
            self._open[-1].add(text, plain=True)

    def _add_with_codes(self, text: str) -> None:
        at = 0
        for match in PLACEHOLDER.finditer(text):
            if int(match[1]) < len(self._codes):
                self._open[-1].add(text[at : match.start()].strip(), plain=True)
                self._open[-1].add(self._codes[int(match[1])])
                at = match.end()
        self._open[-1].add(text[at:].strip(), plain=True)

    def _end_container(self, done: _Container) -> None:
        into = self._open[-1]
        if done.tag in _HEADINGS:
            words = " ".join(" ".join(done.blocks).split("\n"))
            if done.plain:
                into.add(_HEADINGS[done.tag] + words if words else "")
            else:  # a code block in a heading
                self._pass_on(done.blocks, into)
        elif done.tag in _ITEMS:
            mark = f"{into.number}. " if into.tag == "ol" else "- "
            if into.tag not in _LISTS:
                into.add(_indented("\n".join(done.blocks), first="- "), prose=False)
            elif done.blocks:
                into.number += 1
                into.prose = max(into.prose, done.prose)
                into.items.append((mark, done.blocks))
        elif done.tag in _LISTS:
            into.add(_list(done), prose=False)
        elif done.tag == "blockquote":
            into.add(_indented("\n\n".join(done.blocks), first="> ", rest="> "))
        elif done.tag in _CELLS and into.tag == "tr":
            into.cells.append(done.blocks)
            into.plain &= done.plain
        elif done.tag == "tr" and into.tag == "table":
            into.rows.append(done.cells)
            into.plain &= done.plain
            self._pass_on(done.blocks, into)
        elif done.tag == "table":
            self._end_table(done, into)
        else:  # a row or a cell outside a table
            self._pass_on([*(" ".join(cell) for cell in done.cells), *done.blocks], into)

    def _end_table(self, done: _Container, into: _Container) -> None:
        """Write a Markdown table, or its blocks if a cell is alone or contains code or a list."""
        self._pass_on(done.blocks, into)
        rows = [row for row in done.rows if any(row)]
        columns = max((len(row) for row in rows), default=0)
        if columns < 2 or not done.plain:
            self._pass_on([block for row in rows for cell in row for block in cell], into)
            return
        lines = [
            "| " + " | ".join(in_a_cell(" ".join(cell)) for cell in padded) + " |"
            for padded in ([*row, *([[]] * (columns - len(row)))] for row in rows)
        ]
        lines[1:1] = ["|" + " --- |" * columns] if len(lines) > 1 else []
        into.add("\n".join(lines))

    @staticmethod
    def _pass_on(blocks: Sequence[str], into: _Container) -> None:
        for block in blocks:
            into.add(block)


def in_a_cell(text: str) -> str:
    """Return text on one line, without any mark that would end its cell."""
    return _BARE_PIPE.sub(r"\\|", text.replace("\n", " "))


def _list(done: _Container) -> str:
    between = "\n\n" if done.prose > 1 else "\n"
    return between.join(_indented(between.join(blocks), first=mark) for mark, blocks in done.items)


def _indented(text: str, *, first: str, rest: str = "") -> str:
    rest = rest or " " * len(first)
    lines = [(rest + line).rstrip() for line in text.split("\n")]
    return first + "\n".join(lines)[len(rest) :] if text else ""
