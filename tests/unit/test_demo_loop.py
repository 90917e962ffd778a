"""The reader of the demo rates, without a judge, whether an answer names the subject."""

from __future__ import annotations

import json
import statistics

from tests.conftest import ROOT
from tests.demo_loop import score_answer, select_questions

OIL = "A pendulum clock wants its movement oiled once the oil has gone brown, and that is after "
OIL += "about four years in most houses, sooner near a kitchen or the sea, where the air is damp."
QUESTION = "When should a pendulum have the movement oiled?"
PAIRS = [
    (QUESTION, OIL),
    *((f"Explain the {name} to me.", f"The {name} was left.") for name in "abcdefghij"),
    ("Explain ropes to me.", "The ropes were left."),
]


def test_an_answer_must_name_the_rare_words_shared_with_the_post() -> None:
    questions = select_questions(PAIRS)
    assert questions == {QUESTION: {"pendul", "moveme", "oiled"}, "Explain ropes to me.": {"rope"}}
    subjects = questions[QUESTION]
    answers = {OIL: 1.0, "": 0.0, QUESTION: 0.0, "Oiled movement: four years.": 0.1667}
    for text, score in answers.items():
        assert score_answer(QUESTION, subjects, text) == score, text


def test_a_model_trained_on_shuffled_answers_scores_lower() -> None:
    """Two SmolLM2-135M models, tuned on correct and on shuffled pairs, answered 24 questions."""
    rows = json.loads((ROOT / "tests/graph/judges/served_answers.json").read_text("utf-8"))
    answers = {row["question"]: row for row in rows}
    questions = select_questions([(question, question) for question in answers])
    assert len(questions) == len(rows)
    means = {
        model: statistics.fmean(
            score_answer(question, subjects, answers[question][model])
            for question, subjects in questions.items()
        )
        for model in ("good", "shuffled")
    }
    assert means["good"] > 0.75
    assert means["shuffled"] < 0.25
