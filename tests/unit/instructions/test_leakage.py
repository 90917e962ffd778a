"""Test that every kind of leak is counted, and that the right samples are left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from twin_assets.corpus.shingles import shingles
from twin_assets.instructions.drafts import ANSWER_SKETCH_SIZE
from twin_assets.instructions.leakage import (
    MAX_LEFT_OUT_PER_SAMPLE,
    LeakCandidate,
    find_left_out_samples,
    measure_leaks,
    word_ngrams,
)
from twin_assets.instructions.set_similarity import sketch

CHUNKS = pl.DataFrame({"chunk_id": ["a-1", "b-1", "c-1"], "document_id": ["a", "b", "c"]})


def sample(
    sample_id: str, document: str, split: str, question: str, context: str = "", **fields: Any
) -> Any:
    messages = [
        {"role": "system", "content": "You answer."},
        {"role": "user", "content": f"{context}\n\nQuestion: {question}".strip()},
        {"role": "assistant", "content": "An answer."},
    ]
    return {
        "sample_id": sample_id,
        "document_id": document,
        "split": split,
        "question": question,
        "answer": f"The answer {sample_id}.",
        "messages": messages,
        "context_chunk_ids": [],
    } | fields


CLEAN_ROWS = [
    sample("1", "a", "train", "How do tides and harbours go together?"),
    sample("2", "a", "train", "Why does copper come up in “Roofs”?"),
    sample("3", "b", "held_out", "What is your point about violins in “Music”?"),
]


def count_leaks(*more: Any) -> dict[str, int]:
    return vars(measure_leaks(pl.DataFrame([*CLEAN_ROWS, *more]), CHUNKS))


@pytest.mark.parametrize(
    ("count", "leak"),
    [
        ("documents", sample("9", "b", "train", "Who tunes the piano before a concert?")),
        ("same_prompt", sample("9", "c", "train", "What is your point about VIOLINS in 'Music'?")),
        ("same_answer", sample("9", "c", "train", "Who mends lanterns?", answer="the ANSWER  3")),
        ("same_question", sample("9", "a", "train", "how do tides and harbours go together")),
        ("near_question", sample("9", "c", "train", "What is your point on violins in “Music”?")),
        (
            "held_out_shown",
            sample("9", "c", "train", "Who mends lanterns here?", context_chunk_ids=["c-1", "b-1"]),
        ),
    ],
)
def test_each_leak_is_counted(count: str, leak: Any) -> None:
    assert not any(count_leaks().values())
    assert count_leaks(leak)[count] == 1
    assert not measure_leaks(pl.DataFrame([*CLEAN_ROWS, leak]), CHUNKS).is_clean


def words(name: str, count: int) -> str:
    return " ".join(f"{name}{number}" for number in range(count))


@pytest.mark.parametrize(
    ("train", "leak_count"),
    [
        (f"{words('before', 60)} {words('held', 40)} {words('after', 60)}", 1),
        (f"{words('before', 90)} {words('held', 13)} {words('after', 60)}", 0),  # 6 of 33 n-grams
        (f"{words('before', 90)} {words('held', 14)} {words('after', 60)}", 1),  # 7 of 33
    ],
)
def test_a_held_out_answer_inside_a_training_answer_is_a_leak(train: str, leak_count: int) -> None:
    """The whole texts have a Jaccard similarity of only 0.25."""
    held_out = sample("9", "b", "held_out", "Where did the orchard end?", answer=words("held", 40))
    training = sample("8", "c", "train", "Who mends lanterns?", answer=train)
    assert count_leaks(held_out, training)["held_out_contained"] == leak_count
    assert count_leaks(held_out, training | {"split": "left_out"})["held_out_contained"] == 0


def test_pieces_in_several_training_answers_are_one_leak() -> None:
    held_out = sample("9", "b", "held_out", "Where did the orchard end?", answer=words("held", 40))
    text = words("held", 40).split()
    pieces = [
        sample(f"p{n}", "c", "train", f"Who mends {n} lanterns?", answer=" ".join(text[n : n + 12]))
        for n in (0, 14, 28)
    ]
    assert count_leaks(held_out, *pieces)["held_out_contained"] == 1
    assert count_leaks(held_out, pieces[0])["held_out_contained"] == 0


def test_similar_prompts_are_counted() -> None:
    context = " ".join(f"word{number}" for number in range(300))
    train = sample("8", "c", "train", "Who mends lanterns in the old harbour?", context)
    held_out = sample("9", "b", "held_out", "Where did the orchard end before the war?", context)
    assert count_leaks(train, held_out)["near_prompt"] == 1
    assert count_leaks(train, held_out | {"split": "left_out"})["near_prompt"] == 0


ANSWER = " ".join(f"answer{number}" for number in range(80))


def candidate(
    sample_id: str, split: str, question: str, answer: str, year: int = 2020
) -> LeakCandidate:
    answer_sketch = sketch(shingles(answer, width=5), size=ANSWER_SKETCH_SIZE)
    return LeakCandidate(
        sample_id,
        split,
        question,
        tuple(answer_sketch),
        datetime(year, 1, 1, tzinfo=UTC),
        word_ngrams(answer),
    )


TRAIN = candidate("t", "train", "How do tides and harbours go together?", "one two three four five")
HELD_OUT = candidate("h", "held_out", "What is your point about violins in “Music”?", ANSWER)


def test_the_training_sample_of_a_leak_is_left_out() -> None:
    near_copy = replace(
        TRAIN, sample_id="n", question="What is your point about violins in “Jazz”?"
    )
    assert find_left_out_samples([near_copy, TRAIN, HELD_OUT]) == {"n"}
    copy = candidate("r", "train", "Who mends lanterns?", ANSWER + " and a little more")
    assert find_left_out_samples([copy, TRAIN, HELD_OUT]) == {"r"}
    same = replace(TRAIN, sample_id="s", question=HELD_OUT.question.upper())
    assert find_left_out_samples([same, TRAIN, HELD_OUT]) == {"s"}


def test_a_training_sample_containing_a_held_out_answer_is_left_out() -> None:
    held_out = candidate("h", "held_out", "Where did the orchard end?", words("held", 40))
    long_answer = f"{words('before', 60)} {words('held', 40)} {words('after', 60)}"
    containing_sample = candidate("w", "train", "Who mends lanterns?", long_answer)
    assert find_left_out_samples([containing_sample, TRAIN, held_out]) == {"w"}
    short_overlap = candidate(
        "l", "train", "Who mends lanterns?", words("held", 13) + words("x", 60)
    )
    assert find_left_out_samples([short_overlap, TRAIN, held_out]) == set()


def test_a_repeated_formula_leaves_out_the_held_out_sample() -> None:
    held_out = candidate("h", "held_out", "Where did the orchard end?", words("form", 40))
    training = [
        candidate(
            f"t{n}", "train", f"Who {n}s lanterns?", f"{words('form', 40)} {words(f'n{n}x', 99)}"
        )
        for n in range(MAX_LEFT_OUT_PER_SAMPLE + 1)
    ]
    assert find_left_out_samples([held_out, *training]) == {"h"}
    assert find_left_out_samples([held_out, *training[:MAX_LEFT_OUT_PER_SAMPLE]]) == {
        sample.sample_id for sample in training[:MAX_LEFT_OUT_PER_SAMPLE]
    }


def test_the_oldest_of_samples_with_equal_questions_is_kept() -> None:
    older = replace(TRAIN, sample_id="z", published_at=datetime(2010, 1, 1, tzinfo=UTC))
    undated = replace(TRAIN, sample_id="a", published_at=None)
    for order in ([TRAIN, older, undated], [undated, TRAIN, older]):
        assert find_left_out_samples(order) == {"t", "a"}


def test_a_new_sample_changes_no_other() -> None:
    assert find_left_out_samples([TRAIN, HELD_OUT]) == set()
    newer = replace(TRAIN, sample_id="new", published_at=datetime(2030, 1, 1, tzinfo=UTC))
    assert find_left_out_samples([TRAIN, HELD_OUT, newer]) == {"new"}
