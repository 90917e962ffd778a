"""Which parts of a post may be quoted: windows of up to three sentences of prose.

Belongs here: prose in Markdown, its sentences, and the windows over them, each with its exact
place. Does not belong here: embedding and choosing them.

Sentences: sentencex (https://github.com/wikimedia/sentencex), which knows the abbreviations of 244
languages. Markdown: CommonMark by markdown-it. A window of three sentences with the title before it
found the right place for 55 of 100 readers' questions where single sentences found it for 28 and
single sentences with the title for 43 (tuned half of tests/bench/questions): one short
sentence says too little about its subject.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

WINDOWS_VERSION = "1"
"""Version of `windows_of` and `embedded_text`; the asset adds the embedder's revision to it."""

MOST_SENTENCES = 3
FEWEST_CHARACTERS = 20  # "So eight." answers nobody by itself; five words of English
_ITEM_MARKER = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^()\s]*(?:\([^()]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)")
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")


@dataclass(frozen=True)
class SentenceWindow:
    """Sentences that stand beside each other: the document's `text[start:end]`.

    Attributes:
        start, end: in characters.
        sentences: (start, end) of each, in the document as well.
    """

    start: int
    end: int
    sentences: tuple[tuple[int, int], ...]


def windows_of(text: str, *, language: str = "") -> list[SentenceWindow]:
    """Every window of a document: one begins at each sentence and goes on for up to three.

    No window reaches over a heading, a block of code, a table or a quotation: what stands between
    two sentences is prose. A quotation is somebody else's words and is never quoted.

    Args:
        text: Markdown, as `cleaned_documents` holds it.
        language: ISO 639-1; empty or unknown: English rules.

    Returns:
        In the order of the text; none of fewer than 20 characters. The shorter windows at the end
        of a run of prose are left out where a longer one holds them.
    """
    windows: list[SentenceWindow] = []
    for run in _runs(text):
        ends = [place for span in run for place in _sentences(text, *span, language=language)]
        for first in range(max(1, len(ends) - MOST_SENTENCES + 1)):
            part = tuple(ends[first : first + MOST_SENTENCES])
            if part and part[-1][1] - part[0][0] >= FEWEST_CHARACTERS:
                windows.append(SentenceWindow(part[0][0], part[-1][1], part))
    return windows


def embedded_text(title: str, quoted: str) -> str:
    """What is embedded of a window: its title, and its words without addresses of links."""
    words = _LINK.sub(r"\1", quoted)
    return f"{title.strip()}\n{words}".strip()


def _runs(text: str) -> Iterator[list[tuple[int, int]]]:
    """Spans of paragraphs (start, end) that follow each other with nothing else between."""
    lines = _line_starts(text)
    run: list[tuple[int, int]] = []
    depth_of_quotes = 0
    in_item = False
    for token in _markdown().parse(text):
        kind: str = token.type
        if kind in {"blockquote_open", "blockquote_close"}:
            depth_of_quotes += 1 if kind == "blockquote_open" else -1
        elif kind in {"list_item_open", "list_item_close"}:
            in_item = kind == "list_item_open"
        elif kind == "paragraph_open":
            first, last = token.map or (0, 0)
            span = _trimmed(text, lines[first], lines[min(last, len(lines) - 1)], item=in_item)
            in_item = False  # the marker stands before the item's first paragraph alone
            if depth_of_quotes == 0 and _has_words(text[slice(*span)]):
                run.append(span)
            continue
        if kind not in _INSIDE_PROSE and run:
            yield run
            run = []
    if run:
        yield run


_INSIDE_PROSE = frozenset(
    {
        "paragraph_close",
        "inline",
        "list_item_open",
        "list_item_close",
        "bullet_list_open",
        "bullet_list_close",
        "ordered_list_open",
        "ordered_list_close",
    }
)


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def _line_starts(text: str) -> list[int]:
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return [*starts, len(text)]


def _trimmed(text: str, start: int, end: int, *, item: bool) -> tuple[int, int]:
    marker = _ITEM_MARKER.match(text, start, end) if item else None
    start = marker.end() if marker else start
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _has_words(paragraph: str) -> bool:
    """Not a picture alone, and not a line of asterisks."""
    return any(character.isalpha() for character in _IMAGE.sub("", paragraph))


def _sentences(text: str, start: int, end: int, *, language: str) -> list[tuple[int, int]]:
    import sentencex

    places = [
        _trimmed(text, start + boundary["start_index"], start + boundary["end_index"], item=False)
        for boundary in sentencex.get_sentence_boundaries(language or "en", text[start:end])
    ]
    return [(begin, stop) for begin, stop in places if stop > begin]
