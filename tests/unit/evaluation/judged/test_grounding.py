"""Test the support of answers by their passages, and the recognition of declining answers."""

from __future__ import annotations

import pytest

from tests.unit.judges.word_vectors import embed
from twin_assets.evaluation.measures.passage_support import (
    claim,
    compare,
    declines,
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
    grounding: list[JudgedAnswer] = []
    for turn, subject in enumerate(SUBJECTS * 2):
        first, second, third, fourth = subject.split()
        passage = f"The {first} needs its {second}. Without a {third} no {fourth} will help."
        said = f"A {first} needs a {second}, and the {third} helps the {fourth}."
        elsewhere = "Somebody walked through several streets until evening came slowly."
        grounding.append(JudgedAnswer(f"What {turn}?", said if grounded else elsewhere, (passage,)))
    return grounding


def scores(answers: list[JudgedAnswer]) -> list[float]:
    return JUDGE.score_all(answers)


def test_grounded_answers_are_supported_only_by_their_own_passages() -> None:
    good = make_answers(grounded=True)
    other = swap_passages(good)

    assert [answer.answer for answer in other] == [answer.answer for answer in good]
    assert all(
        answer.passages != other_answer.passages
        for answer, other_answer in zip(good[:6], other[:6], strict=True)
    )
    grounding = compare(
        scores(good), scores(good), swapped_scores=scores(make_answers(grounded=False))
    )
    assert grounding.own.low > 0.3
    assert claim(grounding).passed is True
    assert f"{grounding.answers} answers" in claim(grounding).detail


def test_unsupported_answers_fail() -> None:
    good, bad = make_answers(grounded=True), make_answers(grounded=False)

    grounding = compare(scores(bad), scores(good), swapped_scores=scores(swap_passages(bad)))

    assert grounding.difference.high < -0.15
    assert claim(grounding).passed is False


def test_support_must_exceed_that_by_other_passages() -> None:
    same = [0.5] * 12

    assert claim(compare(same, same, swapped_scores=same)).passed is False
    assert claim(compare(same, same, swapped_scores=[0.2, 0.3] * 6)).passed is True
    assert claim(compare(same, [0.66] * 12, swapped_scores=[0.2, 0.3] * 6)).passed is False


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
def test_declining_answers_are_recognised(answer: str) -> None:
    assert declines(answer)


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
    assert not declines(answer)
