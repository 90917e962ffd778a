"""Read the questions and conversations in this folder, and match passages to their answers.

Scope: reading the files, matching passages. Out of scope: asking the questions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent
BUNDLED = ("mara-lindqvist", "oona-petrie", "tomas-okafor")
SHARED = ("skeeto", "jbranchaud-til")

Half = Literal["tuned", "held_out"]
_DROPPED_CHARACTERS = str.maketrans("", "", "*_`[]“”\"’'‘")


@dataclass(frozen=True)
class UsefulPassage:
    """A post (file name or path) and a pattern for the paragraph that answers the question."""

    post: str
    pattern: str

    def is_in(self, source_id: str, text: str) -> bool:
        """Return whether a passage is from this post and matches the pattern."""
        is_same_post = source_id == self.post or source_id.endswith(f"/{self.post}")
        return is_same_post and bool(
            re.search(self.pattern, strip_markup(text), re.IGNORECASE | re.DOTALL)
        )


@dataclass(frozen=True)
class AskedQuestion:
    """A question; `useful` is empty for a foreign question."""

    id: str
    author: str
    kind: Literal["own", "foreign"]
    question: str
    useful: tuple[UsefulPassage, ...]

    def answered_by(self, source_id: str, text: str) -> bool:
        """Return whether a passage of a post is a useful answer."""
        return any(passage.is_in(source_id, text) for passage in self.useful)


@dataclass(frozen=True)
class Conversation:
    """Turns of a reader; `useful` has the useful passages for each turn after the first."""

    id: str
    author: str
    turns: tuple[str, ...]
    useful: tuple[tuple[UsefulPassage, ...], ...]


def strip_markup(text: str) -> str:
    """Return the text without markup and quotation marks, with single spaces."""
    return " ".join(text.translate(_DROPPED_CHARACTERS).split())


def read_asked_questions(author: str, half: Half) -> list[AskedQuestion]:
    """Return an author's questions in a half, in the file's order."""
    return [
        AskedQuestion(row["id"], author, row["kind"], row["question"], _to_passages(row["answers"]))
        for row in _read_rows(f"{author}.{half}.jsonl")
    ]


def read_conversations(authors: Sequence[str], half: Half) -> list[Conversation]:
    """Return the conversations with these authors in a half."""
    rows = [*_read_rows(f"talks.bundled.{half}.jsonl"), *_read_rows(f"talks.shared.{half}.jsonl")]
    return [
        Conversation(
            row["id"],
            row["author"],
            tuple(row["turns"]),
            tuple(_to_passages(turn) for turn in row["answers"]),
        )
        for row in rows
        if row["author"] in authors
    ]


def _to_passages(rows: Sequence[dict[str, str]]) -> tuple[UsefulPassage, ...]:
    return tuple(UsefulPassage(row["post"], row["pattern"]) for row in rows)


def _read_rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text("utf-8").splitlines()]
