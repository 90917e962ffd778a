"""Which of a post's punctuation and paragraphs a cleaned text has lost, around words that stayed.

Belongs here: the prose of a post as it was imported, and comparing two texts word by word. Does not
belong here: cleaning, how much may be lost (`document_claims`).

Of two neighbouring words that the post always parts by a mark, and the text has beside each other,
the text either has a mark too or has lost it; so also of paragraphs. What cleaning takes out on
purpose (attributes of tags, link targets, menus) takes its words along and counts for nothing: by
the density of marks three of thirty honest blogs had lost theirs.
"""
# pyright: strict

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twin_assets.corpus.code_blocks import fenced, replace_highlights, without_code

_WORD = re.compile(r"\w+")
_MARK = re.compile(r"(?<!\s)[.,;:!?](?!\S)|(?<=\w)['’](?=\w)|[。，；：！？、]")
_END_OF_BLOCK = re.compile(r"\n[ \t>]*\n")
_HIDDEN = re.compile(r"<(pre|script|style)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_BLOCK_END = re.compile(r"</(?:p|div|li|h[1-6]|blockquote|tr)\s*>|<br\s*/?>\s*<br", re.IGNORECASE)
_BLANK = re.compile(r"\s+")
_TAG = re.compile(r"<[^<>]{0,2000}>")
_TEMPLATE_TAGS = re.compile(r"\{[%{:#].{0,2000}?\}\}?", re.DOTALL)
_LINK_TARGET = re.compile(
    r"(?<=\])\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+[\"'][^\"'\n]*[\"'])?\)"
)
_EMPTIED = re.compile(r"\[\s*\]")


@dataclass(frozen=True)
class Prose:
    """Words, marks of punctuation and paragraphs of a text."""

    words: int
    marks: int
    paragraphs: int

    @classmethod
    def of(cls, prose: str) -> Prose:
        blocks = sum(bool(_WORD.search(part)) for part in _END_OF_BLOCK.split(prose))
        return cls(len(_WORD.findall(prose)), len(_MARK.findall(_bare(prose))), blocks)


@dataclass(frozen=True)
class Lost:
    """Of the places where the post has a mark, or a paragraph ends, and both words stayed side by
    side: how many have it still, and how many have lost it."""

    marks_kept: int
    marks_lost: int
    breaks_kept: int
    breaks_lost: int


def source_prose(post: Mapping[str, Any]) -> str:
    """The prose of a post as it was imported (`text`, `markup`), by means that cleaning does not
    use."""
    text = replace_highlights(str(post["text"]).replace("\r\n", "\n"), fenced)
    text = without_code(_HIDDEN.sub("\n\n", text))
    if post["markup"] == "html":  # an empty line says nothing in HTML
        text = _TAG.sub("", _BLOCK_END.sub("\f", _BLANK.sub(" ", text))).replace("\f", "\n\n")
    elif post["markup"] == "markdown":
        text = _LINK_TARGET.sub("", _TAG.sub("", _BLOCK_END.sub("\n\n", text)))
        text = _EMPTIED.sub("·", text)  # a link of code alone on its line ends no paragraph
    if post["markup"] != "text":
        text = html.unescape(_TEMPLATE_TAGS.sub("", text))
    return text


def lost(before: str, now: str) -> Lost:
    """Compare the prose of a post (`source_prose`) with that of its cleaned text."""
    marked: dict[tuple[str, str], bool] = {}
    parted: dict[tuple[str, str], bool] = {}
    for pair, gap in _gaps(before):
        marked[pair] = marked.get(pair, True) and bool(_MARK.search(gap))
        parted[pair] = parted.get(pair, True) and bool(_END_OF_BLOCK.search(gap))
    marks = [0, 0]
    breaks = [0, 0]
    for pair, gap in _gaps(now):
        if marked.get(pair):
            marks[not _MARK.search(gap)] += 1
        if parted.get(pair):
            breaks["\n" not in gap] += 1  # a cleaned paragraph is one line
    return Lost(marks[0], marks[1], breaks[0], breaks[1])


def _gaps(prose: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Each word and the next one, and what stands between them, with a letter at either side."""
    before, end = "", 0
    for word in _WORD.finditer(_bare(prose)):
        plain = word[0].lower()
        if before:
            yield (before, plain), f"x{word.string[end : word.start()]}x"
        before, end = plain, word.end()


def _bare(prose: str) -> str:
    """Without the quotation marks, brackets and stars that stand around marks and words."""
    return prose.translate(_NO_CLOSING)


_NO_CLOSING = str.maketrans("", "", '"”»)]*_«“([')
