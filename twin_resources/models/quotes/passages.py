"""Cut a post into quotable passages: whole paragraphs of prose, at most 120 words together.

Scope: prose in Markdown, the part that is searched and the part that is shown, and the sentences,
all with exact offsets. Out of scope: embedding and choosing them.

Sentences: sentencex (https://github.com/wikimedia/sentencex), which has abbreviations of 244
languages. Markdown: CommonMark by markdown-it. For 57 of 100 natural questions (tuning half of
tests/bench/reader_questions) the first passage was useful when paragraphs of at least 40 words
were searched and shown with adjacent paragraphs. With single paragraphs it was useful for 49.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

PASSAGES_VERSION = "4"
"""Version of `passages_of` and `embedded_text`; assets add the embedder's revision to it."""

MAX_WORDS = 120
MAX_CODE_LINES = 20
MIN_WORDS = 40  # shorter paragraphs hold too little alone, so they are searched together
MIN_SHOWN_WORDS = 8  # "Update: see below." answers no question by itself
_ITEM_MARKER = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^()\s]*(?:\([^()]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_CODE = re.compile(r"^[ \t]*(```|~~~).*?^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
# Scripts without spaces: two characters count as a word.
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True)
class QuotablePassage:
    """A part of a post that answers by itself; all offsets are characters of the document.

    Attributes:
        start, end: offsets of the shown text: whole paragraphs, or sentences of a long one.
        searched: (start, end) of the part that a question is compared with.
        sentences: (start, end) of each sentence of the searched part, without code.
    """

    start: int
    end: int
    searched: tuple[int, int]
    sentences: tuple[tuple[int, int], ...]


def passages_of(text: str, *, language: str = "") -> list[QuotablePassage]:
    """Return every passage of a document.

    Consecutive paragraphs and list items are searched together until they have 40 words. The shown
    text extends to the paragraphs after and before while it has at most 120 words. A longer
    paragraph is cut between sentences; each piece begins in the middle of the previous one. No
    passage crosses a heading, a table, a picture or a quotation of another person's words. A code
    block between two paragraphs is shown with them. No passage begins with code. None ends with a
    paragraph that announces the next one, unless that paragraph is searched.

    Args:
        text: Markdown of a row of `cleaned_documents`.
        language: ISO 639-1; English rules apply if it is empty or unknown.

    Returns:
        Passages in the order of the text, without those that show fewer than eight words.
    """
    passages: list[QuotablePassage] = []
    for section in _sections(text):
        for part in _parts(section):
            if len(part) == 1 and _words(text, part) > MAX_WORDS:
                passages += _pieces(text, part[0], language=language)
            else:
                passages += _paragraphs(text, part, language=language)
    return passages


def embedded_text(title: str, quoted: str) -> str:
    """Return the text to embed: the title and the words, without code and link targets."""
    words = _LINK.sub(r"\1", _CODE.sub(" ", quoted))
    return f"{title.strip()}\n{words}".strip()


def embedded_places(title: str, text: str, passage: QuotablePassage) -> list[tuple[int, int]]:
    """Return (start, end) of each of the passage's sentences in its `embedded_text`.

    Args:
        text: the document that contains the passage.
    """
    begin = passage.searched[0]

    def place_of(character: int) -> int:
        return len(embedded_text(title, text[begin:character]))

    return [(place_of(start), place_of(end)) for start, end in passage.sentences]


@dataclass(frozen=True)
class _Block:
    """A paragraph, a list item or a code block, and its offsets."""

    start: int
    end: int
    words: int
    code_lines: int = 0


def _parts(section: Sequence[_Block]) -> Iterator[list[_Block]]:
    """Split a section at paragraphs over the word limit; each of those is a part of its own."""
    part: list[_Block] = []
    for block in section:
        if block.words > MAX_WORDS:
            yield from ([part] if part else [])
            yield [block]
            part = []
        else:
            part.append(block)
    yield from ([part] if part else [])


def _paragraphs(text: str, blocks: Sequence[_Block], *, language: str) -> list[QuotablePassage]:
    passages: list[QuotablePassage] = []
    first = 0
    while first < len(blocks):
        if blocks[first].code_lines:
            first += 1
            continue
        last = first
        while _count(blocks[first : last + 1])[0] < MIN_WORDS and _fits(blocks, first, last + 1):
            last += 1
        following = last + 1
        while blocks[last].code_lines:
            last -= 1
        begin, stop = first, last
        while _fits(blocks, begin, stop + 1):
            stop += 1
        while stop > last and text[blocks[stop].end - 1] in ":,":
            stop -= 1  # the block that it announces does not fit
        while _fits(blocks, begin - 1, stop):
            begin -= 1
        while blocks[begin].code_lines:
            begin += 1  # the paragraph that announces the code does not fit
        prose = [block for block in blocks[first : last + 1] if not block.code_lines]
        if _count(blocks[begin : stop + 1])[0] >= MIN_SHOWN_WORDS:
            passages.append(
                QuotablePassage(
                    blocks[begin].start,
                    blocks[stop].end,
                    (prose[0].start, prose[-1].end),
                    tuple(
                        place
                        for block in prose
                        for place in _sentences(text, block.start, block.end, language=language)
                    ),
                )
            )
        first = following
    return passages


def _pieces(text: str, paragraph: _Block, *, language: str) -> list[QuotablePassage]:
    """Cut a long paragraph between sentences; a sentence over the limit is a piece by itself."""
    places = _sentences(text, paragraph.start, paragraph.end, language=language)
    passages: list[QuotablePassage] = []
    first = 0
    while first < len(places):
        last = first
        while (
            last + 1 < len(places)
            and word_count(text[places[first][0] : places[last + 1][1]]) <= MAX_WORDS
        ):
            last += 1
        span = (places[first][0], places[last][1])
        passages.append(QuotablePassage(*span, span, tuple(places[first : last + 1])))
        if last + 1 == len(places):
            break
        first += (last - first) // 2 + 1
    return passages


def _fits(blocks: Sequence[_Block], first: int, last: int) -> bool:
    """Return whether these blocks exist and may be shown together."""
    if first < 0 or last >= len(blocks):
        return False
    words, lines = _count(blocks[first : last + 1])
    return words <= MAX_WORDS and lines <= MAX_CODE_LINES


def _count(blocks: Sequence[_Block]) -> tuple[int, int]:
    return sum(block.words for block in blocks), sum(block.code_lines for block in blocks)


def _words(text: str, blocks: Sequence[_Block]) -> int:
    return word_count(text[blocks[0].start : blocks[-1].end])


def word_count(text: str) -> int:
    """Count words between spaces; in scripts without spaces two characters count as one word."""
    return len(text.split()) + len(_UNSPACED.findall(text)) // 2


def _sections(text: str) -> Iterator[list[_Block]]:
    """Group adjacent blocks; sections without prose are dropped."""
    section: list[_Block] = []
    for block in (*_blocks(text), None):
        if block is not None:
            section.append(block)
        elif section:
            if any(not member.code_lines for member in section):
                yield section
            section = []


def _blocks(text: str) -> Iterator[_Block | None]:
    """Yield the document's paragraphs, list items and code in order; None for a separator."""
    lines = _line_starts(text)
    outer = _markdown().parse(text)
    for place, token in enumerate(outer):
        in_list = token.type == "list_item_open" and token.level == 1
        if token.map is None or token.nesting < 0 or (token.level > 0 and not in_list):
            continue
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            continue  # the items are the next tokens
        span = _trimmed(text, lines[token.map[0]], lines[min(token.map[1], len(lines) - 1)])
        if token.type in {"fence", "code_block"}:
            yield _Block(*span, 0, token.map[1] - token.map[0])
        elif token.type == "paragraph_open" or (in_list and not _has_quotation(outer, place)):
            span = _trimmed(text, *span, item=in_list)
            prose = text[slice(*span)]
            # a picture or a line of asterisks has no words
            has_words = any(character.isalpha() for character in _IMAGE.sub("", prose))
            yield _Block(*span, word_count(prose)) if has_words else None
        else:
            yield None


def _has_quotation(tokens: Sequence[object], place: int) -> bool:
    """Return whether a list item contains a block quotation."""
    for token in tokens[place + 1 :]:
        kind, level = str(getattr(token, "type", "")), int(getattr(token, "level", 0))
        if kind == "list_item_close" and level == 1:
            return False
        if kind == "blockquote_open":
            return True
    return False


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def _line_starts(text: str) -> list[int]:
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return [*starts, len(text)]


def _trimmed(text: str, start: int, end: int, *, item: bool = False) -> tuple[int, int]:
    marker = _ITEM_MARKER.match(text, start, end) if item else None
    start = marker.end() if marker else start
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _sentences(text: str, start: int, end: int, *, language: str) -> list[tuple[int, int]]:
    import sentencex

    places = [
        _trimmed(text, start + boundary["start_index"], start + boundary["end_index"])
        for boundary in sentencex.get_sentence_boundaries(language or "en", text[start:end])
    ]
    return [(begin, stop) for begin, stop in places if stop > begin]
