"""Find the passages of a document that can be an answer: whole paragraphs of the author's prose.

Scope: reading Markdown blocks and choosing among them. Out of scope: questions
(`back_translation.py`), passages for retrieval (`knowledge/passages.py`, bounded by characters).
Blocks: CommonMark with tables, https://spec.commonmark.org/0.31.2/, parsed by markdown-it-py.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING

from twin_assets.corpus.shingles import split_words
from twin_assets.instructions.instruction_tables import (
    MAX_PASSAGE_WORDS,
    MIN_PASSAGE_WORDS,
    MIN_POST_WORDS,
)

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

TARGET_WORDS = 60  # a shorter passage includes the next paragraph
_PROSE_KINDS = ("paragraph", "list")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]*_`]*(?:\s|$)")
_EMPHASIZED_PARAGRAPH = re.compile(r"([*_]{1,3})[^*_].*\1", re.DOTALL)
_ENDS_WITH_COLON = re.compile(r"[:：][*_`]*$")


@dataclass(frozen=True)
class Block:
    """A top-level block, `text[start:end]`.

    Attributes:
        kind: `paragraph`, `list`, `code`, `heading`, or `other` (a quotation, a list that contains
            one, a table, HTML, a rule, a fully emphasized paragraph).
        plain_text: the visible prose, without markup and addresses; empty for `other`.
        word_count: the number of words in `plain_text`.
    """

    kind: str
    start: int
    end: int
    plain_text: str
    word_count: int


@dataclass(frozen=True)
class AnswerPassage:
    """A passage that can be an answer: `text[start:end]`.

    Attributes:
        heading: the heading of its section, or empty above the first heading.
        plain_text: its prose without markup.
        word_count: the number of words in its prose; code does not count.
    """

    start: int
    end: int
    heading: str
    plain_text: str
    word_count: int


@cache
def _markdown_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def find_passages(text: str) -> list[AnswerPassage]:
    """Return the passages of a Markdown document, in order and without overlaps.

    Each passage begins with a prose paragraph and includes the next blocks while it has fewer than
    60 words or ends with a colon. It has 40 to 160 words of prose, and more characters of prose
    than of code. It never crosses a heading and contains no quotation (someone else's words), table
    or HTML. A short post, with fewer than 40 words of prose in all, is one passage from its first
    paragraph to its last.
    """
    blocks = parse_blocks(text)
    passages: list[AnswerPassage] = []
    heading, section = "", list[Block]()
    for block in [*blocks, Block("heading", len(text), len(text), "", 0)]:
        if block.kind == "heading":
            passages += _find_section_passages(section, heading)
            heading, section = block.plain_text, []
        else:
            section.append(block)
    return passages or list(_find_short_post_passage(blocks))


def _find_short_post_passage(blocks: Sequence[Block]) -> Iterator[AnswerPassage]:
    """Yield the only passage of a short post, which needs no full stop."""
    prose_indexes = [
        index
        for index, block in enumerate(blocks)
        if block.kind in _PROSE_KINDS and block.word_count
    ]
    words = sum(blocks[index].word_count for index in prose_indexes)
    if (
        not MIN_POST_WORDS <= words < MIN_PASSAGE_WORDS
        or blocks[prose_indexes[0]].kind != "paragraph"
    ):
        return
    passage_blocks = blocks[prose_indexes[0] : prose_indexes[-1] + 1]
    code_characters = sum(
        block.end - block.start for block in passage_blocks if block.kind == "code"
    )
    prose_text = "\n".join(
        block.plain_text for block in passage_blocks if block.kind in _PROSE_KINDS
    )
    if (
        all(block.kind in {*_PROSE_KINDS, "code"} for block in passage_blocks)
        and 2 * code_characters < sum(block.end - block.start for block in passage_blocks)
        and _is_mostly_letters(prose_text)
    ):
        preceding_headings = [
            block.plain_text for block in blocks[: prose_indexes[0]] if block.kind == "heading"
        ]
        yield AnswerPassage(
            start=passage_blocks[0].start,
            end=passage_blocks[-1].end,
            heading=preceding_headings[-1] if preceding_headings else "",
            plain_text=prose_text,
            word_count=words,
        )


def find_missing_passage_reason(text: str) -> str:
    """Return why a document has no passage, or an empty string if it has one.

    Returns:
        `no_prose`: only code, quotations, tables, HTML and lists of links. `too_short`: fewer than
        10 words of prose, or fewer than 40 that code, a heading or a quotation separates.
        `long_paragraphs`: a paragraph of more than 160 words, and no other passage. `scattered`:
        headings, quotations, code or tables separate the prose into parts of fewer than 40 words.
    """
    if find_passages(text):
        return ""
    prose_blocks = [
        block for block in parse_blocks(text) if block.kind in _PROSE_KINDS and block.word_count
    ]
    readable_blocks = [block for block in prose_blocks if _is_mostly_letters(block.plain_text)]
    if not readable_blocks:
        return "no_prose"
    if sum(block.word_count for block in prose_blocks) < MIN_PASSAGE_WORDS:
        return "too_short"
    return (
        "long_paragraphs"
        if any(block.word_count > MAX_PASSAGE_WORDS for block in readable_blocks)
        else "scattered"
    )


def _find_section_passages(blocks: Sequence[Block], heading: str) -> Iterator[AnswerPassage]:
    first_index = 0
    while first_index < len(blocks):
        last_index = _find_last_index(blocks, first_index)
        if last_index is None:
            first_index += 1
            continue
        passage_blocks = blocks[first_index : last_index + 1]
        prose_blocks = [block for block in passage_blocks if block.kind != "code"]
        yield AnswerPassage(
            start=passage_blocks[0].start,
            end=passage_blocks[-1].end,
            heading=heading,
            plain_text="\n".join(block.plain_text for block in prose_blocks),
            word_count=sum(block.word_count for block in prose_blocks),
        )
        first_index = last_index + 1


def _find_last_index(blocks: Sequence[Block], first: int) -> int | None:
    """Return the index of the last block of the passage that begins at `first`, or None."""
    if blocks[first].kind != "paragraph" or not _is_prose(blocks[first]):
        return None
    words = prose_characters = code_characters = 0
    last_index: int | None = None
    for index in range(first, len(blocks)):
        block = blocks[index]
        if block.kind == "code":
            code_characters += block.end - block.start
        else:
            words += block.word_count
            prose_characters += block.end - block.start
        if block.kind == "other" or words > MAX_PASSAGE_WORDS:
            return last_index
        introduces_next = block.kind == "paragraph" and _ENDS_WITH_COLON.search(block.plain_text)
        if (
            words >= MIN_PASSAGE_WORDS
            and prose_characters > code_characters
            and not introduces_next
        ):
            last_index = index
            if words >= TARGET_WORDS:
                return last_index
    return last_index


def _is_prose(block: Block) -> bool:
    """Return whether a block contains a sentence and is mostly letters, unlike a formula."""
    is_complete = _SENTENCE_END.search(block.plain_text) or _ENDS_WITH_COLON.search(
        block.plain_text
    )
    return bool(is_complete) and _is_mostly_letters(block.plain_text)


def _is_mostly_letters(plain_text: str) -> bool:
    letters = sum(character.isalpha() or character.isspace() for character in plain_text)
    return letters > 0.75 * len(plain_text)


def parse_blocks(text: str) -> list[Block]:
    """Return the top-level blocks of a Markdown text, in order, with their positions."""
    line_starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
    tokens = _markdown_parser().parse(text)
    blocks: list[Block] = []
    for index, token in enumerate(tokens):
        if token.level or token.map is None or token.nesting < 0:
            continue
        block = text[line_starts[token.map[0]] : line_starts[token.map[1]]]
        start = line_starts[token.map[0]] + len(block) - len(block.lstrip())
        end = line_starts[token.map[0]] + len(block.rstrip())
        kind = _KINDS.get(token.type, "other")
        if kind == "paragraph" and _EMPHASIZED_PARAGRAPH.fullmatch(text, start, end):
            kind = "other"  # "*This article was updated.*" describes the post
        if kind == "list" and _contains_quotation(tokens, index):
            kind = "other"
        plain_text = (
            _extract_plain_text(tokens, index) if kind in {"paragraph", "list", "heading"} else ""
        )
        blocks.append(Block(kind, start, end, plain_text, len(split_words(plain_text))))
    return blocks


_KINDS = {
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "fence": "code",
    "code_block": "code",
    "heading_open": "heading",
}


def _contains_quotation(tokens: Sequence[Token], opening: int) -> bool:
    """Return whether the list that begins at `opening` has a quotation in one of its items."""
    list_tokens = takewhile(lambda token: token.level > 0, tokens[opening + 1 :])
    return any(token.type == "blockquote_open" for token in list_tokens)


def _extract_plain_text(tokens: Sequence[Token], opening: int) -> str:
    """Return the words of a block: text and inline code, without markup, images and addresses."""
    parts: list[str] = []
    for token in tokens[opening + 1 :]:
        if token.level == 0 and token.nesting == -1:
            break
        if token.type == "inline":
            parts.append("".join(_extract_visible_text(child) for child in token.children or ()))
    return "\n".join(parts).strip()


def _extract_visible_text(token: Token) -> str:
    if token.type in {"text", "code_inline"}:
        return token.content
    return " " if token.type in {"softbreak", "hardbreak"} else ""
