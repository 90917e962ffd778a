"""Test recognising models that cannot chat."""

from __future__ import annotations

import pytest

from twin_resources.models.serving.chat_ability import (
    MIN_FAULTY_ANSWERS,
    QUESTIONS,
    SYSTEM_PROMPT,
    ChatAbility,
    Fault,
    find_faults,
    instruct_variant,
)

ASKED = QUESTIONS[0]


@pytest.mark.parametrize(
    ("answer", "ends", "faults"),
    [
        ("The capital of France is Paris.", True, ()),
        ("Paris, of course. It lies on the Seine.", True, ()),
        (f"Paris.\n{SYSTEM_PROMPT}", True, ("repeats the prompt",)),
        (ASKED * 2, True, ("repeats the prompt",)),
        ("Paris.<end_of_turn>\n<start_of_turn>user", True, ("writes control words",)),
        ("Paris.\nuser\nAnd of Spain?", True, ("writes control words",)),
        ("The user asks about a model of the city.", True, ()),
        ("Paris is " * 80, False, ("never ends",)),
        ("", True, ("says nothing",)),
        ("…\n\n…", True, ("says nothing",)),
    ],
)
def test_faults_of_answers(answer: str, ends: bool, faults: tuple[Fault, ...]) -> None:
    assert find_faults(answer, question=ASKED, is_finished=ends) == faults


def make_ability(faulty: int) -> ChatAbility:
    fault: tuple[Fault, ...] = ("never ends", "repeats the prompt")
    return ChatAbility((*[fault] * faulty, *[()] * (len(QUESTIONS) - faulty)))


def test_half_of_the_answers_must_be_faulty() -> None:
    assert make_ability(MIN_FAULTY_ANSWERS - 1).can_chat
    assert make_ability(MIN_FAULTY_ANSWERS - 1).warning("google/gemma-3-270m") == ""
    assert not make_ability(MIN_FAULTY_ANSWERS).can_chat


def test_the_warning_names_faults_consequence_and_alternative() -> None:
    said = make_ability(8).warning("google/gemma-3-270m")
    assert "google/gemma-3-270m is not a chat model: it answered 8 of 8 short questions" in said
    assert "never ends (8), repeats the prompt (8)" in said
    assert "prose will not be shown" in said
    assert "quotations" in said
    assert "google/gemma-3-270m-it" in said
    assert "variant" not in make_ability(8).warning("owner/model-instruct")


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("google/gemma-3-270m", "google/gemma-3-270m-it"),
        ("google/gemma-3-1b-pt", "google/gemma-3-1b-it"),
        ("Qwen/Qwen3-0.6B-Base", "Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("ibm-granite/granite-3.3-2b-base", "ibm-granite/granite-3.3-2b-Instruct"),
        ("mistralai/Mistral-7B-v0.3", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("/srv/models/Llama-3.2-1B/", "Llama-3.2-1B-Instruct"),
        ("google/gemma-3-270m-it", ""),
        ("meta-llama/Llama-3.2-1B-Instruct", ""),
    ],
)
def test_the_instruct_variant_is_guessed_from_the_family(name: str, variant: str) -> None:
    assert instruct_variant(name) == variant
