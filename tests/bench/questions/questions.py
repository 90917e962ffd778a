"""The readers' questions that answers are measured on, and the sentences that answer them.

Belongs here: reading the files beside it. Does not belong here: asking, counting.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent
SAMPLES = Path(__file__).resolve().parents[3] / "deploy" / "samples"

Kind = Literal["own", "near", "foreign"]
Half = Literal["tuned", "held_out"]


@dataclass(frozen=True)
class ReaderQuestion:
    """One question.

    Attributes:
        author: slug.
        kind: `own` is answered by the author's posts; `near` and `foreign` by none.
        half: constants may be chosen by `tuned` alone.
        answers: (file name of the post, sentence as it stands there, white space folded).
    """

    id: str
    author: str
    kind: Kind
    half: Half
    question: str
    answers: tuple[tuple[str, str], ...]


def authors() -> list[str]:
    """Slugs of the authors that have questions."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def read_questions(author: str) -> list[ReaderQuestion]:
    """All questions to one author, in the file's order."""
    lines = (FOLDER / f"{author}.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        ReaderQuestion(
            id=row["id"],
            author=author,
            kind=row["kind"],
            half=row["half"],
            question=row["question"],
            answers=tuple((answer["post"], answer["sentence"]) for answer in row["answers"]),
        )
        for row in map(json.loads, lines)
    ]
