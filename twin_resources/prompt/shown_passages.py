"""Passages as a prompt shows them: pieces of one post that follow each other are one.

Scope: what of a chunk a prompt shows, and putting neighbours together. Out of scope:
choosing them (`retrieval/selection.py`), the texts around them (`templates.py`).

Chunks are small, so that a vector stands for one thought; what a reader of the prompt gets is the
post as far as it was chosen, under one title, not a title over each piece of 128 tokens.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol


class Excerpt(Protocol):
    """What a prompt shows of a chunk, and its place; `retrieval.Passage` is one."""

    @property
    def document_id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def published_at(self) -> datetime | None: ...
    @property
    def position(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


SHOWN_COLUMNS = ("document_id", "title", "text", "published_at", "position", "start", "end")
"""Columns of `document_chunks`, in the order of `ShownPassage`'s fields."""


@dataclass(frozen=True)
class ShownPassage:
    """A chunk as a prompt shows it, or several chunks of one post that follow each other.

    Attributes:
        position: place of the last chunk in its post, from 0.
        start, end: place in the cleaned document, in characters.
    """

    document_id: str
    title: str
    text: str
    published_at: datetime | None
    position: int = 0
    start: int = 0
    end: int = 0


def joined(passages: Iterable[Excerpt]) -> list[ShownPassage]:
    """Passages in their order, each put together with the one before where it goes on there."""
    found: list[ShownPassage] = []
    for passage in passages:
        before = found[-1] if found else None
        if before is not None and _goes_on(before, passage):
            between = _white_space(passage.start - before.end)
            found[-1] = replace(
                before,
                text=f"{before.text}{between}{passage.text}",
                position=passage.position,
                end=passage.end,
            )
        else:
            found.append(ShownPassage(**{name: getattr(passage, name) for name in SHOWN_COLUMNS}))
    return found


def _goes_on(before: ShownPassage, passage: Excerpt) -> bool:
    return (before.document_id, before.position + 1) == (passage.document_id, passage.position)


def _white_space(characters: int) -> str:
    """What stood between two chunks, of which only the length is known.

    One character was a space or a line's end: in Markdown a line's end is as good as a space, and
    a space no line's end. Several were most often an empty line.
    """
    if characters <= 0:
        return ""
    return "\n" if characters == 1 else "\n\n"
