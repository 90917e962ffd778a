"""Split a post into quotable passages: whole paragraphs of prose with at most 120 words in total.

Scope: finding the prose in Markdown, and the exact offsets of the searched part, the shown part and
the sentences. Out of scope: embedding and choosing passages.

Sentences: sentencex (https://github.com/wikimedia/sentencex), which includes the abbreviations of
244 languages. Markdown: CommonMark, parsed by markdown-it. Paragraphs of at least 40 words are
searched and shown with adjacent paragraphs. With this method, the first passage was useful for 57
of 100 natural questions (tuning half of tests/bench/reader_questions). With single paragraphs, it
was useful for 49.
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
"""Version of `split_into_passages` and `build_embedded_text`; assets add the embedder revision."""

MAX_WORDS = 120
MAX_CODE_LINES = 20
MIN_WORDS = 40  # shorter paragraphs contain too little text to search, so they are combined
MIN_SHOWN_WORDS = 8  # "Update: see below." does not answer a question
_ITEM_MARKER = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^()\s]*(?:\([^()]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_CODE = re.compile(r"^[ \t]*(```|~~~).*?^[ \t]*\1[ \t]*$", re.DOTALL | re.MULTILINE)
# In scripts without spaces, two characters count as one word.
_UNSPACED_SCRIPT = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True)
class QuotablePassage:
    """A part of a post that can answer a question; offsets are in characters of the document.

    Attributes:
        start, end: offsets of the shown text: whole paragraphs, or sentences of a long one.
        searched_span: (start, end) of the part that is compared with a question.
        sentences: (start, end) of each sentence of the searched part, without code.
    """

    start: int
    end: int
    searched_span: tuple[int, int]
    sentences: tuple[tuple[int, int], ...]


def split_into_passages(text: str, *, language: str = "") -> list[QuotablePassage]:
    """Return every passage of a document.

    Consecutive paragraphs and list items are searched together until they have 40 words. The shown
    text is extended to later and then to earlier paragraphs, up to 120 words. A longer paragraph is
    split between sentences, and each piece begins in the middle of the previous one. A passage does
    not cross a heading, a table, a picture or a block quotation. A code block between two
    paragraphs is shown with them, but a passage does not begin with code. A passage does not end
    with a paragraph that introduces the next one, unless that paragraph is searched.

    Args:
        text: Markdown of a row of `cleaned_documents`.
        language: ISO 639-1; English rules apply if it is empty or unknown.

    Returns:
        Passages in the order of the text; passages of fewer than eight words are omitted.
    """
    passages: list[QuotablePassage] = []
    for section in _group_into_sections(text):
        for blocks in _split_at_long_paragraphs(section):
            if blocks[0].word_count > MAX_WORDS:
                passages += _split_long_paragraph(text, blocks[0], language=language)
            else:
                passages += _split_paragraphs(text, blocks, language=language)
    return passages


def build_embedded_text(title: str, quoted_text: str) -> str:
    """Return the text to embed: the title and the quoted words, without code and link targets."""
    words = _LINK.sub(r"\1", _CODE.sub(" ", quoted_text))
    return f"{title.strip()}\n{words}".strip()


def embedded_sentence_spans(
    title: str, text: str, passage: QuotablePassage
) -> list[tuple[int, int]]:
    """Return (start, end) of each sentence of the passage in its embedded text.

    Args:
        text: the document that contains the passage.
    """
    begin = passage.searched_span[0]

    def embedded_position(character: int) -> int:
        return len(build_embedded_text(title, text[begin:character]))

    return [(embedded_position(start), embedded_position(end)) for start, end in passage.sentences]


@dataclass(frozen=True)
class _Block:
    """A paragraph, a list item or a code block, with its offsets and length (0 words for code)."""

    start: int
    end: int
    word_count: int
    code_line_count: int = 0


def _split_at_long_paragraphs(section: Sequence[_Block]) -> Iterator[list[_Block]]:
    """Split a section so that each paragraph over the word limit is a separate part."""
    blocks: list[_Block] = []
    for block in section:
        if block.word_count > MAX_WORDS:
            yield from ([blocks] if blocks else [])
            yield [block]
            blocks = []
        else:
            blocks.append(block)
    yield from ([blocks] if blocks else [])


def _split_paragraphs(
    text: str, blocks: Sequence[_Block], *, language: str
) -> list[QuotablePassage]:
    passages: list[QuotablePassage] = []
    first = 0
    while first < len(blocks):
        if blocks[first].code_line_count:
            first += 1
            continue
        last = first
        while _count_words_and_code_lines(blocks[first : last + 1])[0] < MIN_WORDS and _can_show(
            blocks, first, last + 1
        ):
            last += 1
        next_first = last + 1
        while blocks[last].code_line_count:
            last -= 1
        first_shown, last_shown = first, last
        while _can_show(blocks, first_shown, last_shown + 1):
            last_shown += 1
        while last_shown > last and text[blocks[last_shown].end - 1] in ":,":
            last_shown -= 1  # this paragraph introduces a block that does not fit
        while _can_show(blocks, first_shown - 1, last_shown):
            first_shown -= 1
        while blocks[first_shown].code_line_count:
            first_shown += 1  # the paragraph before this code does not fit
        prose_blocks = [block for block in blocks[first : last + 1] if not block.code_line_count]
        if _count_words_and_code_lines(blocks[first_shown : last_shown + 1])[0] >= MIN_SHOWN_WORDS:
            passages.append(
                QuotablePassage(
                    blocks[first_shown].start,
                    blocks[last_shown].end,
                    (prose_blocks[0].start, prose_blocks[-1].end),
                    tuple(
                        span
                        for block in prose_blocks
                        for span in _find_sentences(text, block.start, block.end, language=language)
                    ),
                )
            )
        first = next_first
    return passages


def _split_long_paragraph(text: str, paragraph: _Block, *, language: str) -> list[QuotablePassage]:
    """Split a long paragraph between sentences; a sentence over the limit is a separate piece."""
    spans = _find_sentences(text, paragraph.start, paragraph.end, language=language)
    passages: list[QuotablePassage] = []
    first = 0
    while first < len(spans):
        last = first
        while (
            last + 1 < len(spans)
            and count_words(text[spans[first][0] : spans[last + 1][1]]) <= MAX_WORDS
        ):
            last += 1
        span = (spans[first][0], spans[last][1])
        passages.append(QuotablePassage(*span, span, tuple(spans[first : last + 1])))
        if last + 1 == len(spans):
            break
        first += (last - first) // 2 + 1
    return passages


def _can_show(blocks: Sequence[_Block], first: int, last: int) -> bool:
    """Return whether these blocks exist and may be shown together."""
    if first < 0 or last >= len(blocks):
        return False
    words, lines = _count_words_and_code_lines(blocks[first : last + 1])
    return words <= MAX_WORDS and lines <= MAX_CODE_LINES


def _count_words_and_code_lines(blocks: Sequence[_Block]) -> tuple[int, int]:
    return sum(block.word_count for block in blocks), sum(block.code_line_count for block in blocks)


def count_words(text: str) -> int:
    """Count words; in scripts without spaces, two characters count as one word."""
    return len(text.split()) + len(_UNSPACED_SCRIPT.findall(text)) // 2


def _group_into_sections(text: str) -> Iterator[list[_Block]]:
    """Group adjacent blocks into sections, and omit sections without prose."""
    section: list[_Block] = []
    for block in (*_parse_blocks(text), None):
        if block is not None:
            section.append(block)
        elif section:
            if any(not member.code_line_count for member in section):
                yield section
            section = []


def _parse_blocks(text: str) -> Iterator[_Block | None]:
    """Yield the document's paragraphs, list items and code blocks; None ends a section."""
    line_starts = find_line_starts(text)
    tokens = markdown_parser().parse(text)
    for index, token in enumerate(tokens):
        is_list_item = token.type == "list_item_open" and token.level == 1
        if token.map is None or token.nesting < 0 or (token.level > 0 and not is_list_item):
            continue
        if token.type in {"bullet_list_open", "ordered_list_open"}:
            continue  # the items are the next tokens
        span = trim_span(text, line_starts[token.map[0]], line_starts[token.map[1]])
        if token.type in {"fence", "code_block"}:
            yield _Block(*span, 0, token.map[1] - token.map[0])
        elif token.type == "paragraph_open" or (is_list_item and not _has_quotation(tokens, index)):
            span = trim_span(text, *span, is_list_item=is_list_item)
            prose = text[slice(*span)]
            # a picture or a line of asterisks contains no words
            has_words = any(character.isalpha() for character in _IMAGE.sub("", prose))
            yield _Block(*span, count_words(prose)) if has_words else None
        else:
            yield None


def _has_quotation(tokens: Sequence[object], index: int) -> bool:
    """Return whether a list item contains a block quotation."""
    for token in tokens[index + 1 :]:
        token_type, level = str(getattr(token, "type", "")), int(getattr(token, "level", 0))
        if token_type == "list_item_close" and level == 1:
            return False
        if token_type == "blockquote_open":
            return True
    return False


@cache
def markdown_parser() -> MarkdownIt:
    """Return the parser of CommonMark with tables."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def find_line_starts(text: str) -> list[int]:
    """Return the offset of each line's first character, and the length of the text."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return [*starts, len(text)]


def trim_span(text: str, start: int, end: int, *, is_list_item: bool = False) -> tuple[int, int]:
    """Return a span without white space at its ends, and without the marker of a list item."""
    marker = _ITEM_MARKER.match(text, start, end) if is_list_item else None
    start = marker.end() if marker else start
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _find_sentences(text: str, start: int, end: int, *, language: str) -> list[tuple[int, int]]:
    import sentencex

    spans = [
        trim_span(text, start + boundary["start_index"], start + boundary["end_index"])
        for boundary in sentencex.get_sentence_boundaries(language or "en", text[start:end])
    ]
    return [(begin, stop) for begin, stop in spans if stop > begin]
