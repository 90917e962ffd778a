"""Find samples that would leak across the splits although their documents are separate.

Scope: choosing the samples to leave out, and counting leaks in a finished dataset. Out of scope:
drawing splits (`splits.py`), shared context (`contexts.separate_contexts`).
"""
# pyright: strict

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from twin_assets.corpus.shingles import shingles, split_words
from twin_assets.instructions.drafts import ANSWER_SKETCH_SIZE
from twin_assets.instructions.similar_keys import estimate_similarity, find_similar_pairs

QUESTION_SIMILARITY_THRESHOLD = 0.7  # Jaccard of words
ANSWER_SIMILARITY_THRESHOLD = 0.5  # Jaccard of 5-word sequences, by sketch
PROMPT_SIMILARITY_THRESHOLD = 0.8  # Jaccard of 3-word sequences of the whole user message
MAX_CONTAINED_SHARE = (
    0.2  # share of a held-out answer's 8-word sequences that are in training answers
)
RUN_WORDS = 8
MAX_LEFT_OUT_PER_SAMPLE = 5  # number of training samples left out for one held-out sample


@dataclass(frozen=True)
class LeakCandidate:
    """The fields of a sample that determine whether it leaks.

    `split` is the document's split; `answer_runs` are the `word_runs` of the answer.
    """

    sample_id: str
    split: str
    question: str
    answer_sketch: tuple[int, ...]
    published_at: datetime | None
    answer_runs: frozenset[int] = frozenset()


def find_left_out_samples(candidates: Sequence[LeakCandidate]) -> set[str]:
    """Return the ids of the samples to use neither for training nor for measurement.

    A training sample is left out if a held-out sample has a similar question or answer, or an
    answer that the training sample contains. If more than `MAX_LEFT_OUT_PER_SAMPLE` training
    samples contain parts of a held-out one, for example a repeated phrase, the held-out sample is
    left out. Among samples with the same question, the held-out sample is kept, or the oldest if
    none is held out.
    """
    first_by_question: dict[str, str] = {}
    left_out_ids: set[str] = set()
    for candidate in sorted(candidates, key=_sort_key):
        question = " ".join(split_words(candidate.question))
        if first_by_question.setdefault(question, candidate.sample_id) != candidate.sample_id:
            left_out_ids.add(candidate.sample_id)
    train = [
        candidate
        for candidate in candidates
        if candidate.split == "train" and candidate.sample_id not in left_out_ids
    ]
    held_out = [candidate for candidate in candidates if candidate.split == "held_out"]
    left_out_ids |= {
        training_id
        for training_id, _ in find_similar_pairs(
            _map_question_words(train),
            _map_question_words(held_out),
            threshold=QUESTION_SIMILARITY_THRESHOLD,
        )
    }
    # Sketches give only a rough estimate of the share that two texts have in common. More pairs are
    # therefore compared, and the decision uses an estimate that allows for the error.
    sketches = {candidate.sample_id: candidate.answer_sketch for candidate in candidates}
    pairs = find_similar_pairs(
        _map_answer_sketches(train),
        _map_answer_sketches(held_out),
        threshold=ANSWER_SIMILARITY_THRESHOLD / 2,
    )
    left_out_ids |= {
        training_id
        for training_id, held_out_id in pairs
        if estimate_similarity(
            sketches[training_id], sketches[held_out_id], size=ANSWER_SKETCH_SIZE
        )
        >= ANSWER_SIMILARITY_THRESHOLD
    }
    return left_out_ids | _find_containing_samples(
        {
            candidate.sample_id: candidate.answer_runs
            for candidate in train
            if candidate.sample_id not in left_out_ids
        },
        {
            candidate.sample_id: candidate.answer_runs
            for candidate in held_out
            if candidate.sample_id not in left_out_ids
        },
    )


def word_runs(answer: str) -> frozenset[int]:
    """Return numbers for all `RUN_WORDS`-word sequences of an answer; a shorter answer has one."""
    return shingles(answer, width=RUN_WORDS)


def find_contained_answers(
    held_out: Mapping[str, Set[int]], train: Sequence[Set[int]]
) -> list[str]:
    """Return the held-out answers that training answers contain.

    More than `MAX_CONTAINED_SHARE` of such an answer's runs are in training answers.
    """
    training_runs = frozenset[int]().union(*train)
    return [
        name
        for name, runs in held_out.items()
        if len(runs & training_runs) > MAX_CONTAINED_SHARE * len(runs)
    ]


def _find_containing_samples(
    train: Mapping[str, Set[int]], held_out: Mapping[str, Set[int]]
) -> set[str]:
    """Return the samples to leave out so that no other sample contains a held-out answer.

    `find_contained_answers` defines "contains".
    """
    held_out_runs = frozenset[int]().union(*held_out.values())
    samples_by_run: dict[int, set[str]] = defaultdict(set)
    for name, runs in train.items():
        for run in runs & held_out_runs:
            samples_by_run[run].add(name)
    left_out_ids: set[str] = set()
    for name in sorted(held_out):
        runs_by_sample: dict[str, set[int]] = defaultdict(set)
        for run in held_out[name]:
            for sample_id in samples_by_run[run] - left_out_ids if run in samples_by_run else ():
                runs_by_sample[sample_id].add(run)
        removed_ids: set[str] = set()
        sorted_ids = sorted(
            runs_by_sample, key=lambda holder: (-len(runs_by_sample[holder]), holder)
        )
        for sample_id in sorted_ids:
            remaining_runs = {
                run
                for holder in runs_by_sample.keys() - removed_ids
                for run in runs_by_sample[holder]
            }
            if len(remaining_runs) <= MAX_CONTAINED_SHARE * len(held_out[name]):
                break
            removed_ids.add(sample_id)
        left_out_ids |= removed_ids if len(removed_ids) <= MAX_LEFT_OUT_PER_SAMPLE else {name}
    return left_out_ids


def _sort_key(candidate: LeakCandidate) -> tuple[bool, bool, float, str]:
    published_at = candidate.published_at
    timestamp = published_at.timestamp() if published_at else 0.0
    return (candidate.split != "held_out", published_at is None, timestamp, candidate.sample_id)


def _map_question_words(candidates: Sequence[LeakCandidate]) -> dict[str, frozenset[str]]:
    return {
        candidate.sample_id: frozenset(split_words(candidate.question)) for candidate in candidates
    }


def _map_answer_sketches(candidates: Sequence[LeakCandidate]) -> dict[str, frozenset[int]]:
    return {candidate.sample_id: frozenset(candidate.answer_sketch) for candidate in candidates}


@dataclass(frozen=True)
class LeakCounts:
    """Training data that is also held out; `same_question` also counts repeats within one split.

    Attributes:
        documents: documents in both splits.
        same_answer: answers that are equal, ignoring letter case and spaces.
        same_prompt: user messages that are equal, ignoring letter case and spaces.
        same_question: questions that occur twice in the dataset.
        near_question, near_prompt: pairs across the splits above the thresholds.
        held_out_shown: training prompts that show a passage of a held-out document.
        held_out_contained: held-out answers that are, whole or in large part, in training answers
            (`find_contained_answers`). A short answer in a long one is not a similar answer.
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
    def is_clean(self) -> bool:
        return not any(vars(self).values())


def measure_leaks(dataset: pl.DataFrame, chunks: pl.DataFrame) -> LeakCounts:
    """Measure a finished dataset from its rendered messages.

    Args:
        dataset: `sample_id`, `document_id`, `split`, `question`, `answer`, `messages`,
            `context_chunk_ids`.
        chunks: `chunk_id`, `document_id`.
    """
    used_rows = dataset.filter(pl.col("split") != "left_out")
    train = used_rows.filter(pl.col("split") != "held_out").to_dicts()
    held_out = used_rows.filter(pl.col("split") == "held_out").to_dicts()
    prompts = [
        {row["sample_id"]: _get_user_message(row) for row in rows} for rows in (train, held_out)
    ]
    normalized_prompts = [
        {" ".join(split_words(text)) for text in texts_by_id.values()} for texts_by_id in prompts
    ]
    held_documents = {row["document_id"] for row in held_out}
    answers = [{" ".join(split_words(row["answer"])) for row in rows} for rows in (train, held_out)]
    document_by_chunk = dict(chunks.select("chunk_id", "document_id").iter_rows())
    questions = [" ".join(split_words(row["question"])) for row in (*train, *held_out)]
    return LeakCounts(
        documents=len(held_documents & {row["document_id"] for row in train}),
        same_answer=len(answers[0] & answers[1]),
        same_prompt=len(normalized_prompts[0] & normalized_prompts[1]),
        same_question=len(questions) - len(set(questions)),
        near_question=_count_similar(
            *(
                {row["sample_id"]: frozenset(split_words(row["question"])) for row in rows}
                for rows in (train, held_out)
            ),
            threshold=QUESTION_SIMILARITY_THRESHOLD,
        ),
        near_prompt=_count_similar(
            *(
                {key: shingles(text, width=3) for key, text in texts_by_id.items()}
                for texts_by_id in prompts
            ),
            threshold=PROMPT_SIMILARITY_THRESHOLD,
        ),
        held_out_shown=sum(
            any(
                document_by_chunk.get(chunk) in held_documents for chunk in row["context_chunk_ids"]
            )
            for row in train
        ),
        held_out_contained=len(
            find_contained_answers(
                {row["sample_id"]: word_runs(row["answer"]) for row in held_out},
                [word_runs(row["answer"]) for row in train],
            )
        ),
    )


def _get_user_message(row: dict[str, Any]) -> str:
    return next(part["content"] for part in reversed(row["messages"]) if part["role"] == "user")


def _count_similar(
    train: dict[str, frozenset[Any]], held_out: dict[str, frozenset[Any]], *, threshold: float
) -> int:
    return sum(1 for _ in find_similar_pairs(train, held_out, threshold=threshold))
