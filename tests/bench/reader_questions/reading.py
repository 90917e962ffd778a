"""The questions and talks beside this file, and whether a shown passage answers one.

Scope: reading the files, matching. Out of scope: asking, counting.
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
_DROPPED = str.maketrans("", "", "*_`[]“”\"’'‘")


@dataclass(frozen=True)
class UsefulPassage:
    """A post, by its file's name or path, and a pattern of the paragraph that answers."""

    post: str
    pattern: str

    def is_in(self, source_id: str, text: str) -> bool:
        """Whether a passage of this post holds it."""
        same = source_id == self.post or source_id.endswith(f"/{self.post}")
        return same and bool(re.search(self.pattern, plain(text), re.IGNORECASE | re.DOTALL))


@dataclass(frozen=True)
class AskedQuestion:
    """One question; `useful` is empty for a foreign one."""

    id: str
    author: str
    kind: Literal["own", "foreign"]
    question: str
    useful: tuple[UsefulPassage, ...]

    def answered_by(self, source_id: str, text: str) -> bool:
        """Whether a passage of a post would be a useful answer."""
        return any(passage.is_in(source_id, text) for passage in self.useful)


@dataclass(frozen=True)
class Talk:
    """A talk; `useful` has what answers each turn after the first."""

    id: str
    author: str
    turns: tuple[str, ...]
    useful: tuple[tuple[UsefulPassage, ...], ...]


def plain(text: str) -> str:
    """Text without markup and quotation marks, white space folded."""
    return " ".join(text.translate(_DROPPED).split())


def read_asked(author: str, half: Half) -> list[AskedQuestion]:
    """The questions of one half to one author, in the file's order."""
    return [
        AskedQuestion(row["id"], author, row["kind"], row["question"], _useful(row["answers"]))
        for row in _rows(f"{author}.{half}.jsonl")
    ]


def read_talks(authors: Sequence[str], half: Half) -> list[Talk]:
    """The talks of one half to these authors."""
    rows = [*_rows(f"talks.bundled.{half}.jsonl"), *_rows(f"talks.shared.{half}.jsonl")]
    return [
        Talk(
            row["id"],
            row["author"],
            tuple(row["turns"]),
            tuple(_useful(turn) for turn in row["answers"]),
        )
        for row in rows
        if row["author"] in authors
    ]


def _useful(rows: Sequence[dict[str, str]]) -> tuple[UsefulPassage, ...]:
    return tuple(UsefulPassage(row["post"], row["pattern"]) for row in rows)


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text("utf-8").splitlines()]
