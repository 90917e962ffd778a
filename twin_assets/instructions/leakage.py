"""Find samples that would leak across the splits although their documents are separate.

Scope: choosing the samples to leave out, and counting leaks in a finished dataset. Out of scope:
drawing splits (`splits.py`), shared context (`contexts.apart`).
"""
# pyright: strict

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from twin_assets.instructions.drafts import ANSWER_SKETCH_SIZE
from twin_assets.instructions.similar_keys import (
    shingles,
    similar_pairs,
    sketched_similarity,
    words_of,
)

SAME_QUESTION = 0.7  # Jaccard of words
SAME_ANSWER = 0.5  # Jaccard of 5-word sequences, by sketch
SAME_PROMPT = 0.8  # Jaccard of 3-word sequences of the whole user message
CONTAINED = 0.2  # share of a held-out answer's 8-word sequences that are in training answers
RUN_WORDS = 8
MAX_GIVE_WAY = 5  # number of training samples left out for one held-out sample


@dataclass(frozen=True)
class LeakCandidate:
    """The fields of a sample that determine whether it leaks.

    `split` is its document's; `answer_runs` are the answer's (`runs_of`).
    """

    sample_id: str
    split: str
    question: str
    answer_sketch: tuple[int, ...]
    published_at: datetime | None
    answer_runs: frozenset[int] = frozenset()


def left_out(candidates: Sequence[LeakCandidate]) -> set[str]:
    """Return the ids of samples that are used neither for training nor for measurement.

    A training sample is left out in favor of a held-out sample with a similar question or answer,
    or whose answer it contains. If more than `MAX_GIVE_WAY` training samples contain parts of a
    held-out one, such as a form that the author repeats, the held-out sample is left out. Of
    samples with the same question, the held-out one, else the oldest, is kept.
    """
    first: dict[str, str] = {}
    out: set[str] = set()
    for candidate in sorted(candidates, key=_standing):
        question = " ".join(words_of(candidate.question))
        if first.setdefault(question, candidate.sample_id) != candidate.sample_id:
            out.add(candidate.sample_id)
    train = [one for one in candidates if one.split == "train" and one.sample_id not in out]
    held = [one for one in candidates if one.split == "held_out"]
    out |= {
        pair.left
        for pair in similar_pairs(_questions(train), _questions(held), threshold=SAME_QUESTION)
    }
    # Sketches give only a rough estimate of the share that two texts have in common. More pairs are
    # therefore compared, and the decision uses an estimate that allows for the error.
    sketches = {one.sample_id: one.answer_sketch for one in candidates}
    pairs = similar_pairs(_sketches(train), _sketches(held), threshold=SAME_ANSWER / 2)
    out |= {
        pair.left
        for pair in pairs
        if sketched_similarity(sketches[pair.left], sketches[pair.right], size=ANSWER_SKETCH_SIZE)
        >= SAME_ANSWER
    }
    return out | _containing(
        {one.sample_id: one.answer_runs for one in train if one.sample_id not in out},
        {one.sample_id: one.answer_runs for one in held if one.sample_id not in out},
    )


def runs_of(answer: str) -> frozenset[int]:
    """Return the `RUN_WORDS`-word sequences of an answer as numbers; a shorter answer is one."""
    return shingles(answer, width=RUN_WORDS)


def contained(held: Mapping[str, Set[int]], train: Sequence[Set[int]]) -> list[str]:
    """Return held-out answers with a share above `CONTAINED` of their runs in training answers."""
    trained_on = frozenset[int]().union(*train)
    return [name for name, runs in held.items() if len(runs & trained_on) > CONTAINED * len(runs)]


def _containing(train: Mapping[str, Set[int]], held: Mapping[str, Set[int]]) -> set[str]:
    """Return samples to leave out so that the rest have no held-out answer `contained` in them."""
    held_runs = frozenset[int]().union(*held.values())
    holders: dict[int, set[str]] = defaultdict(set)
    for name, runs in train.items():
        for run in runs & held_runs:
            holders[run].add(name)
    out: set[str] = set()
    for name in sorted(held):
        shared: dict[str, set[int]] = defaultdict(set)
        for run in held[name]:
            for holder in holders[run] - out if run in holders else ():
                shared[holder].add(run)
        gone: set[str] = set()
        most_first = sorted(shared, key=lambda holder: (-len(shared[holder]), holder))
        for holder in most_first:
            left = {run for one in shared.keys() - gone for run in shared[one]}
            if len(left) <= CONTAINED * len(held[name]):
                break
            gone.add(holder)
        out |= gone if len(gone) <= MAX_GIVE_WAY else {name}
    return out


def _standing(candidate: LeakCandidate) -> tuple[bool, bool, float, str]:
    at = candidate.published_at
    moment = at.timestamp() if at else 0.0
    return (candidate.split != "held_out", at is None, moment, candidate.sample_id)


def _questions(candidates: Sequence[LeakCandidate]) -> dict[str, frozenset[str]]:
    return {
        candidate.sample_id: frozenset(words_of(candidate.question)) for candidate in candidates
    }


def _sketches(candidates: Sequence[LeakCandidate]) -> dict[str, frozenset[int]]:
    return {candidate.sample_id: frozenset(candidate.answer_sketch) for candidate in candidates}


@dataclass(frozen=True)
class Leaks:
    """Training data that is also in the held-out split; `same_question` also within one split.

    Attributes:
        documents: documents in both splits.
        same_answer: answers that are equal, ignoring letter case and spaces.
        same_prompt: user messages that are equal, ignoring letter case and spaces.
        same_question: questions that occur twice in the dataset.
        near_question, near_prompt: pairs across the splits above the thresholds.
        held_out_shown: training prompts that show a passage of a held-out document.
        held_out_contained: held-out answers that are, whole or in large part, in training answers
            (`contained`). A short answer in a long one is not a similar answer.
    """

    documents: int
    same_answer: int
    same_prompt: int
    same_question: int
    near_question: int
    near_prompt: int
    held_out_shown: int
    held_out_contained: int

    @property
    def none(self) -> bool:
        return not any(vars(self).values())


def leaks_of(dataset: pl.DataFrame, chunks: pl.DataFrame) -> Leaks:
    """Measure a finished dataset, including a general set, from its rendered messages.

    Args:
        dataset: `sample_id`, `document_id`, `split`, `question`, `answer`, `messages`,
            `context_chunk_ids`.
        chunks: `chunk_id`, `document_id`.
    """
    used = dataset.filter(pl.col("split") != "left_out")
    train = used.filter(pl.col("split") != "held_out").to_dicts()
    held = used.filter(pl.col("split") == "held_out").to_dicts()
    prompts = [{row["sample_id"]: _asked(row) for row in rows} for rows in (train, held)]
    plain = [{" ".join(words_of(text)) for text in side.values()} for side in prompts]
    held_documents = {row["document_id"] for row in held}
    answers = [{" ".join(words_of(row["answer"])) for row in rows} for rows in (train, held)]
    document_of = dict(chunks.select("chunk_id", "document_id").iter_rows())
    questions = [" ".join(words_of(row["question"])) for row in (*train, *held)]
    return Leaks(
        documents=len(held_documents & {row["document_id"] for row in train}),
        same_answer=len(answers[0] & answers[1]),
        same_prompt=len(plain[0] & plain[1]),
        same_question=len(questions) - len(set(questions)),
        near_question=_near(
            *(
                {row["sample_id"]: frozenset(words_of(row["question"])) for row in rows}
                for rows in (train, held)
            ),
            threshold=SAME_QUESTION,
        ),
        near_prompt=_near(
            *({key: shingles(text, width=3) for key, text in side.items()} for side in prompts),
            threshold=SAME_PROMPT,
        ),
        held_out_shown=sum(
            any(document_of.get(chunk) in held_documents for chunk in row["context_chunk_ids"])
            for row in train
        ),
        held_out_contained=len(
            contained(
                {row["sample_id"]: runs_of(row["answer"]) for row in held},
                [runs_of(row["answer"]) for row in train],
            )
        ),
    )


def _asked(row: dict[str, Any]) -> str:
    return next(part["content"] for part in reversed(row["messages"]) if part["role"] == "user")


def _near(
    train: dict[str, frozenset[Any]], held: dict[str, frozenset[Any]], *, threshold: float
) -> int:
    return sum(1 for _ in similar_pairs(train, held, threshold=threshold))
