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
from twin_assets.instructions.set_similarity import estimate_similarity, find_similar_pairs

QUESTION_SIMILARITY_THRESHOLD = 0.7  # Jaccard of words
ANSWER_SIMILARITY_THRESHOLD = 0.5  # Jaccard of 5-word sequences, by sketch
PROMPT_SIMILARITY_THRESHOLD = 0.8  # Jaccard of 3-word sequences of the whole user message
MAX_CONTAINED_SHARE = 0.2  # share of a held-out answer's 8-grams that are in training answers
NGRAM_WORDS = 8
MAX_LEFT_OUT_PER_SAMPLE = 5  # number of training samples left out for one held-out sample


@dataclass(frozen=True)
class LeakCandidate:
    """The fields of a sample that determine whether it leaks.

    `split` is the document's split; `answer_ngrams` are the `word_ngrams` of the answer.
    """

    sample_id: str
    split: str
    question: str
    answer_sketch: tuple[int, ...]
    published_at: datetime | None
    answer_ngrams: frozenset[int] = frozenset()


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
    # The overlap of two sketches only roughly estimates that of the texts. A lower threshold
    # therefore selects the pairs, and a more exact estimate decides.
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
            candidate.sample_id: candidate.answer_ngrams
            for candidate in train
            if candidate.sample_id not in left_out_ids
        },
        {
            candidate.sample_id: candidate.answer_ngrams
            for candidate in held_out
            if candidate.sample_id not in left_out_ids
        },
    )


def word_ngrams(answer: str) -> frozenset[int]:
    """Return hashes of an answer's sequences of `NGRAM_WORDS` words; a shorter answer has one."""
    return shingles(answer, width=NGRAM_WORDS)


def find_contained_answers(
    held_out: Mapping[str, Set[int]], train: Sequence[Set[int]]
) -> list[str]:
    """Return the ids of held-out answers that training answers contain.

    An answer is contained if more than `MAX_CONTAINED_SHARE` of its n-grams are in training data.

    Args:
        held_out: n-grams by sample id.
        train: n-grams of each training answer.
    """
    training_ngrams = frozenset[int]().union(*train)
    return [
        sample_id
        for sample_id, ngrams in held_out.items()
        if len(ngrams & training_ngrams) > MAX_CONTAINED_SHARE * len(ngrams)
    ]


def _find_containing_samples(
    train: Mapping[str, Set[int]], held_out: Mapping[str, Set[int]]
) -> set[str]:
    """Return the samples to leave out so that no other sample contains a held-out answer.

    `find_contained_answers` defines "contains"; both arguments map sample ids to n-grams.
    """
    held_out_ngrams = frozenset[int]().union(*held_out.values())
    samples_by_ngram: dict[int, set[str]] = defaultdict(set)
    for sample_id, ngrams in train.items():
        for ngram in ngrams & held_out_ngrams:
            samples_by_ngram[ngram].add(sample_id)
    left_out_ids: set[str] = set()
    for held_out_id in sorted(held_out):
        shared_ngrams: dict[str, set[int]] = defaultdict(set)  # by training sample
        for ngram in held_out[held_out_id] & samples_by_ngram.keys():
            for sample_id in samples_by_ngram[ngram] - left_out_ids:
                shared_ngrams[sample_id].add(ngram)
        removed_ids: set[str] = set()
        sorted_ids = sorted(
            shared_ngrams, key=lambda sample_id: (-len(shared_ngrams[sample_id]), sample_id)
        )
        for sample_id in sorted_ids:
            remaining_ngrams = {
                ngram
                for remaining_id in shared_ngrams.keys() - removed_ids
                for ngram in shared_ngrams[remaining_id]
            }
            if len(remaining_ngrams) <= MAX_CONTAINED_SHARE * len(held_out[held_out_id]):
                break
            removed_ids.add(sample_id)
        is_over_limit = len(removed_ids) > MAX_LEFT_OUT_PER_SAMPLE
        left_out_ids |= {held_out_id} if is_over_limit else removed_ids
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
    """Counts of training data that is also held out.

    Attributes:
        documents: documents in both splits.
        same_answer: answers that are equal, ignoring letter case and spaces.
        same_prompt: user messages that are equal, ignoring letter case and spaces.
        same_question: repeated questions, in different splits or in the same one.
        near_question, near_prompt: pairs across the splits above the thresholds.
        held_out_shown: training prompts that show a passage of a held-out document.
        held_out_contained: held-out answers that are entirely or largely in training answers
            (`find_contained_answers`). Similarity would miss a short answer in a long one.
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
    """Count the leaks in a finished dataset from its rendered messages.

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
                {row["sample_id"]: word_ngrams(row["answer"]) for row in held_out},
                [word_ngrams(row["answer"]) for row in train],
            )
        ),
    )


def _get_user_message(row: dict[str, Any]) -> str:
    messages = reversed(row["messages"])
    return next(message["content"] for message in messages if message["role"] == "user")


def _count_similar(
    train: dict[str, frozenset[Any]], held_out: dict[str, frozenset[Any]], *, threshold: float
) -> int:
    return sum(1 for _ in find_similar_pairs(train, held_out, threshold=threshold))
