"""Read readers' questions, for measuring retrieval, and the posts that answer them.

Scope: reading the files in this folder. Out of scope: asking the questions.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent
ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "deploy" / "samples"
SHARED_DATA = Path(os.environ.get("TWIN_SHARED_DATA", ROOT.parent / "shared" / "data"))

SHARED_AUTHORS = ("skeeto", "jbranchaud-til")
Kind = Literal["own", "near", "foreign"]
Half = Literal["tuned", "held_out"]


@dataclass(frozen=True)
class ReaderQuestion:
    """A question to a bundled author.

    Attributes:
        author: the author's slug.
        kind: `own` is answered by the author's posts; `near` and `foreign` are not.
        half: constants may be chosen on `tuned` only.
        answers: (file name of the post, its sentence with single spaces) of each answer.
    """

    id: str
    author: str
    kind: Kind
    half: Half
    question: str
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SharedQuestion:
    """A question to a shared author, whose posts are stored only as paths.

    Attributes:
        author: the author's slug, and the name of the folder of posts.
        half: constants may be chosen on `tuned` only.
        posts: `source_id` (path under the author's folder) of every post that answers the
            question. The question was written for the first of them.
    """

    id: str
    author: str
    half: Half
    question: str
    posts: tuple[str, ...]


def posts_folder(author: str) -> Path:
    """Return the folder of a shared or bundled author's posts."""
    sample = SAMPLES / author
    return sample if sample.is_dir() else SHARED_DATA / "posts" / author


def authors() -> list[str]:
    """Return the slugs of the bundled authors with questions."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl") if path.stem not in SHARED_AUTHORS)


def read_questions(author: str) -> list[ReaderQuestion]:
    """Return all questions to a bundled author, in the file's order."""
    rows = _read_rows(author)
    for row in rows:
        row["answers"] = tuple((answer["post"], answer["sentence"]) for answer in row["answers"])
    return [ReaderQuestion(author=author, **row) for row in rows]


def read_shared_questions(author: str) -> list[SharedQuestion]:
    """Return all questions to an author of `SHARED_AUTHORS`."""
    rows = _read_rows(author)
    return [SharedQuestion(author=author, **row | {"posts": tuple(row["posts"])}) for row in rows]


def _read_rows(author: str) -> list[dict[str, Any]]:
    lines = (FOLDER / f"{author}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
