"""Questions of a sound dataset stand above chance; shuffled, constant and few ones do not."""

from __future__ import annotations

import random

import numpy as np
import pytest

from twin_assets.instructions.relevance import (
    MAX_ERROR,
    MAX_SAMPLES,
    MIN_DOCUMENTS,
    MIN_STANDING,
    Overlap,
    Relevance,
    compare_overlap_with_chance,
    compute_lexical_overlap,
    draw_samples,
    measure_relevance,
)

WORDS = [f"{first}{second}" for first in "bdfgklmnprst" for second in ("ane", "ilo", "ure", "osk")]


def made_up(documents: int, *, samples: int = 4) -> tuple[list[str], list[str], list[str]]:
    """Questions, chunks and document ids: a question has two words of its chunk."""
    chance = random.Random(7)
    questions, chunks, names = [], [], []
    for number in range(documents * samples):
        words = chance.sample(WORDS, 12)
        chunks.append("what the " + " ".join(words))
        questions.append(f"What about the {words[3]} and the {words[8]}?")
        names.append(f"doc-{number // samples}")
    return questions, chunks, names


def lexical(questions: list[str], chunks: list[str], names: list[str]) -> Overlap:
    return compare_overlap_with_chance(compute_lexical_overlap(questions, chunks), names)


def test_questions_about_their_chunks_stand_above_chance() -> None:
    found = lexical(*made_up(20))
    assert found.is_above_chance
    assert found.standing > 0.9
    assert found.error <= MAX_ERROR


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_questions_do_not(seed: int) -> None:
    questions, chunks, names = made_up(20)
    random.Random(seed).shuffle(questions)
    found = lexical(questions, chunks, names)
    assert not found.is_above_chance
    assert found.standing == pytest.approx(0.5, abs=0.12)
    assert found.error > MAX_ERROR


def test_half_of_them_shuffled_is_refused_by_the_threshold_and_not_by_the_error() -> None:
    questions, chunks, names = made_up(40)
    half = questions[:100]
    random.Random(1).shuffle(half)
    found = lexical(half + questions[100:], chunks, names)
    assert found.error <= MAX_ERROR
    assert 0.6 < found.standing < MIN_STANDING
    assert not found.is_above_chance


def test_one_question_for_all_is_chance() -> None:
    questions, chunks, names = made_up(20)
    found = lexical([questions[0]] * len(questions), chunks, names)
    assert found.standing == pytest.approx(0.5)
    assert found.error == 1.0


def test_words_of_every_chunk_count_for_nothing() -> None:
    shared = compute_lexical_overlap(
        ["What the?", "the bane"], ["the bane", "the dilo what", "the dilo"]
    )
    assert shared[0].tolist() == [0.0, 1.0, 0.0]
    assert shared[1].tolist() == [1.0, 0.0, 0.0]


def test_both_senses_have_to_hold() -> None:
    questions, chunks, names = made_up(20)
    vectors = np.eye(len(chunks))
    sound = measure_relevance(
        questions, chunks, names, question_vectors=vectors, chunk_vectors=vectors
    )
    assert sound.is_decided
    assert sound.holds
    elsewhere = np.roll(vectors, 7, axis=0)
    broken = measure_relevance(
        questions, chunks, names, question_vectors=elsewhere, chunk_vectors=vectors
    )
    assert broken.lexical == sound.lexical
    assert not broken.holds


def test_few_documents_decide_nothing() -> None:
    questions, chunks, names = made_up(MIN_DOCUMENTS - 1)
    vectors = np.eye(len(chunks))
    found = measure_relevance(
        questions, chunks, names, question_vectors=vectors, chunk_vectors=vectors
    )
    assert found == Relevance(len(chunks), MIN_DOCUMENTS - 1)
    assert not found.is_decided
    assert not found.holds
    assert found.metadata()["fewest_documents"] == MIN_DOCUMENTS


def test_another_version_draws_other_samples() -> None:
    ids = [f"s{number}" for number in range(4 * MAX_SAMPLES)]
    first, second = set(draw_samples(ids, salt="1")), set(draw_samples(ids, salt="2"))
    assert len(first) == len(second) == MAX_SAMPLES
    assert first != second
    assert draw_samples(ids[:10], salt="1") == draw_samples(ids[:10][::-1], salt="1")
