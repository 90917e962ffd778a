"""Readers' questions for measuring answers and retrieval, with the posts that answer them.

Scope: reading the files in this folder, and drawing the posts and halves of a shared author's
questions. Out of scope: asking the questions.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent
ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ROOT / "deploy" / "samples"
SHARED_DATA = Path(os.environ.get("TWIN_SHARED_DATA", ROOT.parent / "shared" / "data"))

SHARED_AUTHORS = ("skeeto", "jbranchaud-til")
SEED = 20261122
QUESTIONS_EACH = 60  # of a shared author

Kind = Literal["own", "near", "foreign"]
Half = Literal["tuned", "held_out"]


@dataclass(frozen=True)
class ReaderQuestion:
    """A question to a bundled author.

    Attributes:
        author: slug.
        kind: `own` is answered by the author's posts; `near` and `foreign` are not.
        half: constants may be chosen on `tuned` only.
        answers: (file name of the post, its sentence with single spaces).
    """

    id: str
    author: str
    kind: Kind
    half: Half
    question: str
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SharedQuestion:
    """A question to a shared author; of the posts only their paths are stored.

    Attributes:
        author: slug, and the folder of the posts.
        half: constants may be chosen on `tuned` only.
        posts: `source_id` (path under the author's folder) of every post that answers; the question
            was written for the first.
    """

    id: str
    author: str
    half: Half
    question: str
    posts: tuple[str, ...]


def posts_folder(author: str) -> Path:
    """Return the folder of a shared or bundled author's posts."""
    return (SHARED_DATA / "posts" if author in SHARED_AUTHORS else SAMPLES) / author


def authors() -> list[str]:
    """Return the slugs of the bundled authors with questions."""
    return sorted(path.stem for path in FOLDER.glob("*.jsonl") if path.stem not in SHARED_AUTHORS)


def read_questions(author: str) -> list[ReaderQuestion]:
    """Return all questions to a bundled author, in the file's order."""
    return [
        ReaderQuestion(
            id=row["id"],
            author=author,
            kind=row["kind"],
            half=row["half"],
            question=row["question"],
            answers=tuple((answer["post"], answer["sentence"]) for answer in row["answers"]),
        )
        for row in _rows(author)
    ]


def read_shared_questions(author: str) -> list[SharedQuestion]:
    """Return all questions to an author of `SHARED_AUTHORS`, in the order of `drawn_posts`."""
    return [
        SharedQuestion(
            id=row["id"],
            author=author,
            half=row["half"],
            question=row["question"],
            posts=tuple(row["posts"]),
        )
        for row in _rows(author)
    ]


def drawn_posts(author: str, folder: Path) -> list[str]:
    """Return the posts that questions were written for: every n-th after a shuffle of each stratum.

    A stratum is a year of skeeto and a topic's folder of jbranchaud-til, so that the questions
    represent years and topics in proportion.

    Args:
        author: one of `SHARED_AUTHORS`.
        folder: contains the author's posts.

    Returns:
        `QUESTIONS_EACH` paths under `folder`.
    """
    if author == "skeeto":
        paths = sorted(path for path in folder.rglob("*") if path.parent.name == "_posts")
        strata = [path.name[:4] for path in paths]
    else:
        paths = sorted(path for path in folder.rglob("*.md") if path.parent != folder)
        strata = [path.relative_to(folder).parts[0] for path in paths]
    generator = random.Random(f"{SEED}:{author}")
    order: list[Path] = []
    for stratum in sorted(set(strata)):
        part = [path for path, name in zip(paths, strata, strict=True) if name == stratum]
        generator.shuffle(part)
        order += part
    step = len(order) / QUESTIONS_EACH
    start = generator.random() * step
    picked = [order[int(start + number * step)] for number in range(QUESTIONS_EACH)]
    return [path.relative_to(folder).as_posix() for path in picked]


def drawn_halves(author: str) -> list[Half]:
    """Return the half of each question of a shared author, in the order of `drawn_posts`."""
    order = list(range(QUESTIONS_EACH))
    random.Random(f"{SEED}:{author}:halves").shuffle(order)
    halves: list[Half] = ["held_out"] * QUESTIONS_EACH
    for number in order[: QUESTIONS_EACH // 2]:
        halves[number] = "tuned"
    return halves


def _rows(author: str) -> list[dict[str, Any]]:
    lines = (FOLDER / f"{author}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
