"""Test that the demo's reader rates, without a judge, whether an answer names the subject."""

from __future__ import annotations

import json
import statistics

import pytest
from twin_cli.commands.demo.subjects import (
    NEW_WORDS_FOR_FULL_SCORE,
    HeldOutQuestion,
    extract_stems,
    score_answer,
    select_questions_with_subjects,
)

from tests.conftest import ROOT
from twin_resources.models.quotes.answer_text import PROSE_HEADING, extract_prose

OIL = "A pendulum clock wants its movement oiled once the oil has gone brown, and that is after "
OIL += "about four years in most houses, sooner near a kitchen or the sea, where the air is damp."
BREAD = "Flour, salt and water are mixed before supper, rest under a cloth until the morning, and "
BREAD += (
    "bake for fifty minutes in a heavy pot with its lid kept on and the oven as hot as it goes."
)
PAIRS = [
    ("When should a pendulum have its movement oiled?", OIL),
    ("How long does the bread rest under its cloth?", BREAD),
    *(
        (f"Explain the {name} to me.", f"The {name} is what the men carry.")
        for name in "abcdefghij"
    ),
    *((f"Explain {name} to me.", f"The {name} was left.") for name in ("wheels", "ropes", "tides")),
]


def find_question(question: str) -> HeldOutQuestion:
    return {item.question: item for item in select_questions_with_subjects(PAIRS)}[question]


def test_subjects_are_the_rare_words_shared_with_the_post() -> None:
    assert find_question(PAIRS[0][0]).subjects == {"pendul", "moveme", "oiled"}
    assert find_question("Explain ropes to me.").subjects == {"rope"}
    matches = [
        item.question
        for item in select_questions_with_subjects(PAIRS)
        if "Explain the" in item.question
    ]
    assert matches == [], "a single letter or the frequent word `explain` became a subject"
    assert select_questions_with_subjects([*PAIRS, PAIRS[0]]) == select_questions_with_subjects(
        PAIRS
    )
    assert select_questions_with_subjects([]) == []


def test_the_score_covers_only_the_text_of_the_model() -> None:
    question = find_question(PAIRS[0][0])
    quotation = f"> {OIL}\n>\n> — Oil, 2019-03-02\n\n{PROSE_HEADING}\n\n"

    assert score_answer(question, extract_prose(OIL)) == 1.0
    assert score_answer(question, extract_prose(quotation + OIL)) == 1.0
    assert score_answer(question, extract_prose(quotation + BREAD)) == 0.0
    assert score_answer(question, "") == 0.0
    assert score_answer(question, question.question) == 0.0, "an echo of the question has a score"
    text_with_one_subject = "The oiled wheel is what the keeper of a tall stone tower looks at, "
    text_with_one_subject += "long before winter comes."
    assert score_answer(question, text_with_one_subject) == pytest.approx(0.5)
    assert score_answer(question, "Oiled movement: four years.") == pytest.approx(
        2 / NEW_WORDS_FOR_FULL_SCORE, abs=1e-4
    )


def test_words_are_compared_without_their_endings() -> None:
    stems = extract_stems("The clock’s Pendulums, a clock and its PENDULUM")
    assert stems == {"the", "clock", "and", "its", "pendul"}


def test_a_model_trained_on_shuffled_answers_scores_lower() -> None:
    """Two SmolLM2-135M models, tuned on correct and on shuffled pairs, answered 24 questions."""
    rows = json.loads((ROOT / "tests/graph/judges/served_answers.json").read_text("utf-8"))
    answers = {row["question"]: row for row in rows}
    questions = select_questions_with_subjects([(question, question) for question in answers])
    assert len(questions) == len(rows)
    means = {
        model: statistics.fmean(score_answer(q, answers[q.question][model]) for q in questions)
        for model in ("good", "shuffled")
    }
    assert means["good"] > 0.75
    assert means["shuffled"] < 0.25
