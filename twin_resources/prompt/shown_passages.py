"""Join consecutive passages of a post, which overlap, into one for a prompt, under one title."""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol


class Excerpt(Protocol):
    """The fields of a passage that a prompt shows, and its position."""

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
"""Columns of `embeddings`, in the order of `PromptPassage`'s fields."""


@dataclass(frozen=True)
class PromptPassage:
    """One passage or several consecutive ones of a post, as a prompt shows them.

    Attributes:
        position: position of the last passage in its post, starting at 0.
        start, end: character range in the cleaned document.
    """

    document_id: str
    title: str
    text: str
    published_at: datetime | None
    position: int = 0
    start: int = 0
    end: int = 0


def join_passages(passages: Iterable[Excerpt]) -> list[PromptPassage]:
    """Return the passages in order, each joined to the previous passage if it continues it."""
    joined_passages: list[PromptPassage] = []
    for passage in passages:
        previous_passage = joined_passages[-1] if joined_passages else None
        if previous_passage is not None and _is_continuation(previous_passage, passage):
            gap = passage.start - previous_passage.end
            text = passage.text[-gap:] if gap <= 0 else _make_gap_text(gap) + passage.text
            joined_passages[-1] = replace(
                previous_passage,
                text=f"{previous_passage.text}{text}",
                position=passage.position,
                end=passage.end,
            )
        else:
            joined_passages.append(
                PromptPassage(**{name: getattr(passage, name) for name in SHOWN_COLUMNS})
            )
    return joined_passages


def _is_continuation(previous: PromptPassage, passage: Excerpt) -> bool:
    return (previous.document_id, previous.position + 1) == (passage.document_id, passage.position)


def _make_gap_text(length: int) -> str:
    """Return white space for a gap of `length` characters between two passages.

    A gap of one character was a space or a line break. In Markdown, a line break can replace a
    space, but a space cannot replace a line break. A longer gap was usually an empty line.
    """
    return "\n" if length == 1 else "\n\n"
