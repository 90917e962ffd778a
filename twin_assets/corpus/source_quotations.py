"""Find the quotations in a post's source, and measure how much of them a text contains.

Scope: finding the quotations of an imported post by lines and tags, without the parse tree that
cleaning uses, and finding their words in a text. Out of scope: cleaning, the effect of a violated
claim (`document_claims`, `instructions/dataset_claims`).

A quotation is a line after `>`, the content of `<blockquote>` or of a component with a matching
name (`<PullQuote>`), or a `<q>` that is a whole paragraph. Within a sentence, `<q>` is a pair of
quotation marks. For Org, reStructuredText and AsciiDoc, the importer keeps pandoc's Markdown, which
marks quotations with `>`. A callout (`> [!note]`) is the author's own text.

Texts are compared by sequences of five words. Sequences that the post also has outside quotations
or in code are ignored, because an author may repeat a quoted sentence.
"""
# pyright: strict

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from twin_assets.corpus.code_blocks import fence_code, replace_highlights
from twin_assets.corpus.shingles import split_words

Ngrams = frozenset[tuple[str, ...]]
"""The sequences of `NGRAM_WORDS` words in a text."""

NGRAM_WORDS = 5
_MIN_CONTAINED_SHARE = 1 / 3
"""Share of a paragraph's sequences that a text must contain; not all, as links may be rewritten."""

_ITEMS = r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*"
_MAY_QUOTE = re.compile(rf"^{_ITEMS}>|<(?:q\b|[\w.:-]{{0,60}}quote)", re.MULTILINE | re.IGNORECASE)
_MARKED_LINE = re.compile(rf"{_ITEMS}>(?:[ \t]*>)*[ \t]?(.*)")
_CALLOUT = re.compile(r"[ \t]*\[![ \t]*(?!quote\b|cite\b|quotation\b)\w", re.IGNORECASE)
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+")
_CODE_INDENT = 4
_FENCE = re.compile(r"(?:[ \t>]|(?:[-*+]|\d{1,9}[.)])[ \t])*(`{3,}|~{3,})([^`]*)")
_INLINE_CODE = re.compile(r"`[^`\n]*`")

_HIDDEN_ELEMENT = re.compile(
    r"<(pre|script|style)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE
)
_TAG = re.compile(r"<(/?)([A-Za-z][\w.:-]{0,60})(?:\s[^<>]{0,2000})?/?>")
_BLOCKS = frozenset(
    {"p", "div", "section", "article", "aside", "header", "footer", "main", "figure", "figcaption"}
    | {"ul", "ol", "li", "dl", "dt", "dd", "table", "tr", "td", "th", "hr", "pre", "center"}
    | {"h1", "h2", "h3", "h4", "h5", "h6", "details", "summary", "body", "html", "address"}
)
_PARAGRAPH = r"(?:p|div|li|dd|section|article|figure|center|body)"
_PARAGRAPH_QUOTE = re.compile(
    rf"((?:\A|\n[ \t]*\n|<{_PARAGRAPH}\b[^<>]{{0,300}}>)\s*)<q\b[^<>]{{0,300}}>([^\0]{{0,4000}}?)"
    rf"</q\s*>(?=\s*(?:\Z|\n[ \t]*\n|</{_PARAGRAPH}\s*>))",
    re.IGNORECASE,
)
_LINK_TARGET = re.compile(
    r"(?<=\])(?:\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s[^()\n]*)?\)|\[[^\]\n]*\])"
)
_QUOTE_START, _QUOTE_END = "\x02", "\x03"
_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad\x02\x03]")
_QUOTE_MARKS = re.compile(f"[{_QUOTE_START}{_QUOTE_END}]")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


def find_quotations(post: Mapping[str, Any]) -> tuple[Ngrams, ...]:
    """Return the quoted paragraphs of an imported post that have at least five words.

    Args:
        post: `text` and `markup` (`markdown`, `html` or `text`).
    """
    text = str(post["text"])
    if ">" not in text or not _MAY_QUOTE.search(text):
        return ()
    marked_text, code = _mark_quotations(text, str(post["markup"]))
    paragraphs = list(_split_paragraphs(marked_text))
    quoted_ngrams = [
        frozenset(_iter_ngrams(paragraph)) for paragraph, is_quoted in paragraphs if is_quoted
    ]
    unquoted_ngrams = _find_ngrams_in_texts(
        quoted_ngrams, [code, *(part for part, is_quoted in paragraphs if not is_quoted)]
    )
    return tuple(filter(None, (ngrams - unquoted_ngrams for ngrams in quoted_ngrams)))


def count_contained_quotations(quotations: Sequence[Ngrams], text: str) -> int:
    """Return how many quoted paragraphs have at least a third of their sequences in a text."""
    return _count_contained_in_texts(quotations, [text])


def count_unmarked_quotations(quotations: Sequence[Ngrams], markdown: str) -> int:
    """Return the number of quoted paragraphs in a cleaned text outside its quotations."""
    if not quotations:
        return 0
    marked_text = _mark_quoted_lines(_split_code(markdown)[0], callouts=False)
    return _count_contained_in_texts(
        quotations, [part for part, is_quoted in _split_paragraphs(marked_text) if not is_quoted]
    )


def _count_contained_in_texts(quotations: Sequence[Ngrams], texts: Iterable[str]) -> int:
    contained_ngrams = _find_ngrams_in_texts(quotations, texts)
    return sum(
        len(ngrams & contained_ngrams) >= max(1.0, _MIN_CONTAINED_SHARE * len(ngrams))
        for ngrams in quotations
    )


def _find_ngrams_in_texts(quotations: Sequence[Ngrams], texts: Iterable[str]) -> Ngrams:
    """Return the sequences of the quotations that occur in one of the texts."""
    quoted_ngrams = frozenset[tuple[str, ...]]().union(*quotations)
    return quoted_ngrams.intersection(chain.from_iterable(map(_iter_ngrams, texts)))


def _iter_ngrams(text: str) -> Iterator[tuple[str, ...]]:
    """Yield all sequences of five words; a shorter text has none."""
    words = split_words(text)
    return zip(*(words[start:] for start in range(NGRAM_WORDS)), strict=False)


def _mark_quotations(text: str, markup: str) -> tuple[str, str]:
    """Return the prose of a source, with its quotations between marks, and its code."""
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text.replace("\r\n", "\n")))
    if markup == "text":
        prose, code = _split_code(text)
        return _mark_quoted_lines(prose), code
    text = replace_highlights(text, fence_code)
    code = "\n".join(
        html.unescape(_TAG.sub("", element[0])) for element in _HIDDEN_ELEMENT.finditer(text)
    )
    text = _HIDDEN_ELEMENT.sub("\n\n", text)
    if markup == "markdown":
        text, fenced_code = _split_code(text)
        code += f"\n{fenced_code}"
    # Process tags before lines, because a line that begins with `>` may be the end of a tag.
    text = _mark_quoting_tags(_PARAGRAPH_QUOTE.sub(r"\1<blockquote>\2</blockquote>", text))
    if markup == "markdown":
        text = _LINK_TARGET.sub("", _mark_quoted_lines(text))
    return html.unescape(text), code


def _mark_quoting_tags(text: str) -> str:
    """Replace tags with marks around quotations or with paragraph breaks, or remove them."""
    open_tags: dict[str, list[int]] = {}
    pairs: set[int] = set()
    tags = list(_TAG.finditer(text))
    for index, tag in enumerate(tags):
        name = tag[2].lower()
        if not _is_quotation_tag(tag[2]):
            continue
        if not tag[1]:
            open_tags.setdefault(name, []).append(index)
        elif open_tags.get(name):
            pairs |= {index, open_tags[name].pop()}
    pieces: list[str] = []
    end = 0
    for index, tag in enumerate(tags):
        pieces.append(text[end : tag.start()])
        if index in pairs:
            pieces.append(f"\n\n{_QUOTE_END if tag[1] else _QUOTE_START}\n\n")
        elif tag[2].lower() in _BLOCKS or _is_quotation_tag(tag[2]):
            pieces.append("\n\n")
        elif tag[2].lower() == "br":
            pieces.append("\n")
        end = tag.end()
    return "".join([*pieces, text[end:]])


def _is_quotation_tag(name: str) -> bool:
    return name.lower() == "blockquote" or (name[0].isupper() and "quote" in name.lower())


def _mark_quoted_lines(text: str, *, callouts: bool = True) -> str:
    """Put marks around lines that begin with `>`.

    Args:
        callouts: whether a block of such lines may be a callout, which is the author's own text.
    """
    lines: list[str] = []
    list_indent = 0  # text indented this far belongs to a list item
    in_quotation = is_callout = False
    for line in text.split("\n"):
        quoted_line = _MARKED_LINE.match(line) if ">" in line else None
        if quoted_line and _indent_width(line) < list_indent + _CODE_INDENT:
            if not in_quotation:
                is_callout = callouts and bool(_CALLOUT.match(quoted_line[1]))
            in_quotation = True
            lines.append(
                quoted_line[1] if is_callout else f"{_QUOTE_START}{quoted_line[1]}{_QUOTE_END}"
            )
        else:
            in_quotation = False
            lines.append(line)
        if item := _ITEM.match(line):
            list_indent = len(item[0].expandtabs(4))
        elif list_indent and line[:1].strip():
            list_indent = 0
    return "\n".join(lines).replace(f"{_QUOTE_END}\n{_QUOTE_START}", "\n")


def _indent_width(line: str) -> int:
    expanded_line = line.expandtabs(4)
    return len(expanded_line) - len(expanded_line.lstrip())


def _split_code(text: str) -> tuple[str, str]:
    """Return Markdown without fenced code at any depth, and that code.

    Inline code stays, without its markup characters.
    """
    if "`" not in text and "~~~" not in text:
        return text, ""
    prose: list[str] = []
    code: list[str] = []
    fence, in_quotation = "", False
    for line in text.split("\n"):
        mark = _FENCE.fullmatch(line) if "```" in line or "~~~" in line else None
        is_quoted_line = line.lstrip().startswith(">")
        if fence and in_quotation and not is_quoted_line:
            fence = ""
        if not fence:
            if mark:
                fence, in_quotation = mark[1], is_quoted_line
            else:
                prose.append(line)
        elif mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
        else:
            code.append(line)
    return _INLINE_CODE.sub(
        lambda span: span[0].translate(_NO_MARKUP), "\n".join(prose)
    ), "\n".join(code)


_NO_MARKUP = str.maketrans("`<>[]", "     ")


def _split_paragraphs(marked: str) -> Iterator[tuple[str, bool]]:
    """Yield the paragraphs of a marked text, and whether they are quoted."""
    depth = end = 0
    for mark in _QUOTE_MARKS.finditer(marked):
        yield from _iter_paragraphs(marked[end : mark.start()], depth)
        depth = max(0, depth + (1 if mark[0] == _QUOTE_START else -1))
        end = mark.end()
    yield from _iter_paragraphs(marked[end:], depth)


def _iter_paragraphs(text: str, depth: int) -> Iterator[tuple[str, bool]]:
    for paragraph in _BLANK_LINE.split(text):
        if paragraph.strip():
            yield paragraph, depth > 0
