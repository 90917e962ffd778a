"""Read the questions and conversations in this folder, and match passages to their answers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.bench.questions.questions import SHARED_DATA

FOLDER = Path(__file__).parent
BUNDLED = ("mara-lindqvist", "oona-petrie", "tomas-okafor")
SHARED = ("skeeto", "jbranchaud-til")
HANDED_OVER = ("drew-devault",)
"""Authors whose questions stand beside the shared posts, and may be tuned on."""

Half = Literal["tuned", "held_out", "handed_over"]
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
    """Return an author's questions in a half, in the file's order.

    Raises:
        FileNotFoundError: the shared data are absent (`TWIN_SHARED_DATA`).
    """
    folder = SHARED_DATA / "questions" if half == "handed_over" else FOLDER
    name = f"{author}.jsonl" if half == "handed_over" else f"{author}.{half}.jsonl"
    return [
        AskedQuestion(
            row["id"], author, row["kind"], row["question"], _to_passages(row.get("answers") or [])
        )
        for row in _read_rows(folder / name)
    ]


def read_conversations(authors: Sequence[str], half: Half) -> list[Conversation]:
    """Return the conversations with these authors in a half."""
    rows = [
        row
        for kind in ("bundled", "shared")
        for row in _read_rows(FOLDER / f"talks.{kind}.{half}.jsonl")
    ]
    return [
        Conversation(
            row["id"],
            row["author"],
            tuple(row["turns"]),
            tuple(_to_passages(turn) for turn in row.get("answers") or []),
        )
        for row in rows
        if row["author"] in authors
    ]


def _to_passages(rows: Sequence[dict[str, str]]) -> tuple[UsefulPassage, ...]:
    return tuple(UsefulPassage(row["post"], row["pattern"]) for row in rows)


def _read_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]
