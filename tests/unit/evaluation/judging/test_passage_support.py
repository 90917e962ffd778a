"""Test the support of answers by their passages and the detection of declining answers."""

from __future__ import annotations

import pytest

from tests.unit.judges.word_vectors import embed
from twin_assets.evaluation.measures.passage_support import (
    compare,
    decide_claim,
    is_refusal,
    swap_passages,
)
from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.support import SupportJudge

SUBJECTS = (
    *("clock spring wheel pendulum", "bread flour oven yeast", "river boat heron current"),
    *("violin string bridge rosin", "glacier moraine crevasse snow", "letter stamp envelope ink"),
)
JUDGE = SupportJudge(embed, embedder="words")


def make_answers(*, grounded: bool) -> list[JudgedAnswer]:
    answers: list[JudgedAnswer] = []
    for number, subject in enumerate(SUBJECTS * 2):
        first, second, third, fourth = subject.split()
        passage = f"The {first} needs its {second}. Without a {third} no {fourth} will help."
        supported = f"A {first} needs a {second}, and the {third} helps the {fourth}."
        unsupported = "Somebody walked through several streets until evening came slowly."
        answers.append(
            JudgedAnswer(f"What {number}?", supported if grounded else unsupported, (passage,))
        )
    return answers


def score(answers: list[JudgedAnswer]) -> list[float]:
    return JUDGE.score_all(answers)


def test_grounded_answers_are_supported_only_by_their_own_passages() -> None:
    good = make_answers(grounded=True)
    swapped = swap_passages(good)

    assert [answer.answer for answer in swapped] == [answer.answer for answer in good]
    assert all(
        answer.passages != swapped_answer.passages
        for answer, swapped_answer in zip(good[:6], swapped[:6], strict=True)
    )
    grounding = compare(
        score(good), score(good), swapped_scores=score(make_answers(grounded=False))
    )
    assert grounding.own.low > 0.3
    assert decide_claim(grounding).passed is True
    assert f"{grounding.answers} answers" in decide_claim(grounding).detail


def test_unsupported_answers_fail() -> None:
    good, bad = make_answers(grounded=True), make_answers(grounded=False)

    grounding = compare(score(bad), score(good), swapped_scores=score(swap_passages(bad)))

    assert grounding.difference.high < -0.15
    assert decide_claim(grounding).passed is False


def test_support_must_exceed_the_support_by_other_passages() -> None:
    equal_scores = [0.5] * 12

    assert (
        decide_claim(compare(equal_scores, equal_scores, swapped_scores=equal_scores)).passed
        is False
    )
    assert (
        decide_claim(compare(equal_scores, equal_scores, swapped_scores=[0.2, 0.3] * 6)).passed
        is True
    )
    assert (
        decide_claim(compare(equal_scores, [0.66] * 12, swapped_scores=[0.2, 0.3] * 6)).passed
        is False
    )


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know.",
        "I have never written about that.",
        "I’m sorry, but I cannot share that.",
        "There is no information about it in my posts.",
        "I'd rather not say.",
        "I'm not sure.",
        "I'm sorry for your loss, but I don't have personal preferences for seats.",
        "As an AI, I have no kitchen.",
        "Ich weiß es nicht.",
        "Dazu habe ich leider nichts geschrieben.",
        "Je ne sais pas.",
        "No lo sé.",
    ],
)
def test_declining_answers_are_detected(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Her name was Mrs Ohlsson, and she taught us to read.",
        "The spring drives the wheel, which I had known for years.",
        "There are eleven spoons in it.",
        "I'm not sure how to count them, but I can tell you that there are 20 spoons.",
        "I'm so sorry to hear about your friend. Her name was Ann.",
        "I knew nobody in the village, so I asked at the shop.",
        "Der Zug hielt, und ich stieg aus.",
        "",
    ],
)
def test_other_answers_do_not_count_as_declining(answer: str) -> None:
    assert not is_refusal(answer)
