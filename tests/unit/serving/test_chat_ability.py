"""Test the detection of models that cannot chat."""

from __future__ import annotations

import pytest

from twin_resources.models.serving.chat_ability import (
    MIN_FAULTY_ANSWERS,
    QUESTIONS,
    SYSTEM_PROMPT,
    ChatAbility,
    Fault,
    find_faults,
)

QUESTION = QUESTIONS[0]


@pytest.mark.parametrize(
    ("answer", "is_finished", "faults"),
    [
        ("The capital of France is Paris.", True, ()),
        ("Paris, of course. It lies on the Seine.", True, ()),
        (f"Paris.\n{SYSTEM_PROMPT}", True, ("repeats the prompt",)),
        (QUESTION * 2, True, ("repeats the prompt",)),
        ("Paris.<end_of_turn>\n<start_of_turn>user", True, ("writes control words",)),
        ("Paris.\nuser\nAnd of Spain?", True, ("writes control words",)),
        ("The user asks about a model of the city.", True, ()),
        ("Paris is " * 80, False, ("never ends",)),
        ("", True, ("says nothing",)),
        ("…\n\n…", True, ("says nothing",)),
    ],
)
def test_answer_faults_are_found(answer: str, is_finished: bool, faults: tuple[Fault, ...]) -> None:
    assert find_faults(answer, question=QUESTION, is_finished=is_finished) == faults


def make_ability(faulty_count: int) -> ChatAbility:
    fault: tuple[Fault, ...] = ("never ends", "repeats the prompt")
    return ChatAbility((*[fault] * faulty_count, *[()] * (len(QUESTIONS) - faulty_count)))


def test_half_of_the_answers_must_be_faulty() -> None:
    assert make_ability(MIN_FAULTY_ANSWERS - 1).can_chat
    assert make_ability(MIN_FAULTY_ANSWERS - 1).warning("google/gemma-3-270m") == ""
    assert not make_ability(MIN_FAULTY_ANSWERS).can_chat


def test_the_warning_names_faults_consequence_and_alternative() -> None:
    warning = make_ability(8).warning("google/gemma-3-270m")
    assert "google/gemma-3-270m is not a chat model: it answered 8 of 8 short questions" in warning
    assert "never ends (8), repeats the prompt (8)" in warning
    assert "prose will not be shown" in warning
    assert "quotations" in warning
    assert "set --base-model to the model's instruct variant" in warning
