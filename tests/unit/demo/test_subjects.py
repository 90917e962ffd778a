"""The demo's reader: whether an answer names what was asked about; it knows no judge."""

from __future__ import annotations

import json
import statistics
import sys
from subprocess import run

import pytest
from twin_cli.commands.demo.subjects import (
    NEW_WORDS_FOR_FULL_SCORE,
    HeldOutQuestion,
    score_answer,
    select_questions_with_subjects,
    stems,
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


def asked(question: str) -> HeldOutQuestion:
    return {one.question: one for one in select_questions_with_subjects(PAIRS)}[question]


def test_a_question_is_about_its_rare_words_that_its_post_has_too() -> None:
    assert asked(PAIRS[0][0]).subjects == {"pendul", "moveme", "oiled"}
    assert asked("Explain ropes to me.").subjects == {"rope"}
    short = [
        one.question
        for one in select_questions_with_subjects(PAIRS)
        if "Explain the" in one.question
    ]
    assert short == [], "a letter is no subject, and `explain` is every second question's word"
    assert select_questions_with_subjects([*PAIRS, PAIRS[0]]) == select_questions_with_subjects(
        PAIRS
    )
    assert select_questions_with_subjects([]) == []


def test_the_reader_rates_what_the_model_wrote() -> None:
    question = asked(PAIRS[0][0])
    quoted = f"> {OIL}\n>\n> — Oil, 2019-03-02\n\n{PROSE_HEADING}\n\n"

    assert score_answer(question, extract_prose(OIL)) == 1.0
    assert score_answer(question, extract_prose(quoted + OIL)) == 1.0
    assert score_answer(question, extract_prose(quoted + BREAD)) == 0.0
    assert score_answer(question, "") == 0.0
    assert score_answer(question, question.question) == 0.0, "an echo says nothing further"
    one_named = "The oiled wheel is what the keeper of a tall stone tower looks at, "
    one_named += "long before winter comes."
    assert score_answer(question, one_named) == pytest.approx(0.5)
    assert score_answer(question, "Oiled movement: four years.") == pytest.approx(
        2 / NEW_WORDS_FOR_FULL_SCORE, abs=1e-4
    )


def test_words_are_compared_without_their_endings() -> None:
    assert stems("The clock’s Pendulums, a clock and its PENDULUM") == {"the", "clock", "and",
        "its", "pendul"}  # fmt: skip


def test_it_tells_a_model_of_shuffled_answers_from_a_good_one() -> None:
    """Answers that SmolLM2-135M gave, tuned on right and on shuffled pairs, to 24 questions."""
    served = json.loads((ROOT / "tests/graph/judges/served_answers.json").read_text("utf-8"))
    found = select_questions_with_subjects([(one["question"], one["question"]) for one in served])
    given = {one["question"]: one for one in served}
    assert len(found) == len(served)
    means = {
        model: statistics.fmean(score_answer(one, given[one.question][model]) for one in found)
        for model in ("good", "shuffled")
    }
    assert means["good"] > 0.75
    assert means["shuffled"] < 0.25


def test_the_reader_loads_no_judge_and_no_embedder() -> None:
    """Its rule is not what gate and trial decide by."""
    loaded = "import sys, twin_cli.commands.demo.reader; print(*sys.modules)"
    said = run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    assert [name for name in said.split() if "quality.judges" in name or "embedder" in name] == []
