"""Join passages for a prompt: consecutive pieces of one post are shown as one.

Scope: the parts of a chunk that a prompt shows, and joining neighbours. Out of scope: choosing
chunks (`retrieval/selection.py`), the texts around them (`templates.py`).

Chunks are small so that each vector represents one thought. The prompt shows the chosen part of a
post under a single title, instead of a title above each piece of 128 tokens.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol


class Excerpt(Protocol):
    """The parts of a chunk that a prompt shows, and its position, as in `retrieval.Passage`."""

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
"""Columns of `document_chunks`, in the order of `PromptPassage`'s fields."""


@dataclass(frozen=True)
class PromptPassage:
    """A chunk as a prompt shows it, or several consecutive chunks of one post.

    Attributes:
        position: position of the last chunk in its post, from 0.
        start, end: range in the cleaned document, in characters.
    """

    document_id: str
    title: str
    text: str
    published_at: datetime | None
    position: int = 0
    start: int = 0
    end: int = 0


def join_passages(passages: Iterable[Excerpt]) -> list[PromptPassage]:
    """Return the passages in order; one that continues the previous passage is joined to it."""
    shown: list[PromptPassage] = []
    for passage in passages:
        previous = shown[-1] if shown else None
        if previous is not None and _continues(previous, passage):
            between = _gap_text(passage.start - previous.end)
            shown[-1] = replace(
                previous,
                text=f"{previous.text}{between}{passage.text}",
                position=passage.position,
                end=passage.end,
            )
        else:
            shown.append(PromptPassage(**{name: getattr(passage, name) for name in SHOWN_COLUMNS}))
    return shown


def _continues(previous: PromptPassage, passage: Excerpt) -> bool:
    return (previous.document_id, previous.position + 1) == (passage.document_id, passage.position)


def _gap_text(characters: int) -> str:
    """Return white space for the gap between two chunks, of which only the length is known.

    One character was a space or a line break: in Markdown a line break can replace a space, but a
    space cannot replace a line break. Several characters were most often an empty line.
    """
    if characters <= 0:
        return ""
    return "\n" if characters == 1 else "\n\n"
