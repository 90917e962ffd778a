"""Test each measure on invented texts that raise it, lower it or leave it unchanged."""

from __future__ import annotations

import operator

import pytest

from tests.unit.judges.word_vectors import embed
from twin_resources.quality.judges.fluency import fluency_score
from twin_resources.quality.judges.judge import JudgedAnswer, judge_id
from twin_resources.quality.judges.judge_kind import JudgeUnavailableError, TopicPair
from twin_resources.quality.judges.support import SupportJudge
from twin_resources.quality.judges.topic import (
    TopicJudge,
    calibrate_topic,
    pair_with_other_documents,
)

CLOCK = (
    "The spring drives every wheel of the clock, and the escapement lets them turn one tooth at a "
    "time, so that the hands go round as slowly as the day does."
)
RIVER = (
    "Herons stand in the shallow river for most of the morning and wait for the small silver fish "
    "that come up to the weir when the water is low and warm."
)
SUBJECTS = ("clock spring", "river heron", "bread oven", "moth lamp", "tower bell")


def make_pairs(count: int = 40) -> list[TopicPair]:
    return [
        TopicPair(
            f"what about {SUBJECTS[n % 5]}", f"{SUBJECTS[n % 5]} again number {n}", f"d{n % 5}"
        )
        for n in range(count)
    ]


def test_prose_is_fluent_and_loops_and_fragments_are_not() -> None:
    assert fluency_score(CLOCK) == 1.0
    assert fluency_score("I am not sure what to say. " * 12) == 0.0
    assert fluency_score("It is a web.") == pytest.approx(4 / 25)
    assert fluency_score("") == fluency_score("…") == 0.0


def test_the_topic_scale_compares_own_passages_with_other_documents() -> None:
    calibration = calibrate_topic(make_pairs(), embed=embed, embedder="e1")

    assert calibration.pairs == 40
    assert calibration.own > 0.4
    assert calibration.unrelated < 0.1
    own_documents = [pair.document_id for pair in make_pairs()]
    other_documents = [pair.document_id for pair in pair_with_other_documents(make_pairs())]
    assert all(map(operator.ne, own_documents, other_documents))


@pytest.mark.parametrize(
    ("training_pairs", "reason"),
    [
        (make_pairs(19), "19 training pairs"),
        ([TopicPair("a clock", "clock", "one document")] * 30, "from 1 documents"),
        (
            [TopicPair(f"about nothing {n}", f"matter {n % 7} said", f"d{n}") for n in range(30)],
            "close",
        ),
    ],
)
def test_unsuitable_pairs_are_refused(training_pairs: list[TopicPair], reason: str) -> None:
    with pytest.raises(JudgeUnavailableError, match=reason):
        calibrate_topic(training_pairs, embed=embed, embedder="e1")


def test_another_subject_a_loop_and_an_empty_answer_score_zero_for_topic() -> None:
    judge = TopicJudge(calibrate_topic(make_pairs(), embed=embed, embedder="e1"), embed)
    question = "How does the spring drive the wheel of a clock?"

    own, other, loop, empty = judge.score_all(
        [
            JudgedAnswer(question, answer)
            for answer in (CLOCK, RIVER, "The clock has a spring. " * 15, " ")
        ]
    )

    assert own > 0.5
    assert other == loop == empty == 0.0
    assert judge.score_all([JudgedAnswer(question, CLOCK)]) == [own]
    another_judge = TopicJudge(calibrate_topic(make_pairs(), embed=embed, embedder="e2"), embed)
    assert judge_id(judge) != judge_id(another_judge), (
        "the embedder must be part of the judge's identity"
    )


def test_support_is_the_mean_over_the_sentences() -> None:
    judge = SupportJudge(embed, embedder="e1")
    passages = (CLOCK, "The tower clock of 1804 has four faces.")
    quoted = "The spring drives every wheel of the clock."
    invented = "Napoleon bought seventeen telephones in Lisbon."

    supported, half_supported, unsupported, without_passages = judge.score_all(
        [
            JudgedAnswer("q", quoted, passages),
            JudgedAnswer("q", f"{quoted} {invented}", passages),
            JudgedAnswer("q", invented, passages),
            JudgedAnswer("q", quoted, ()),
        ]
    )

    assert supported > 0.8
    assert half_supported == pytest.approx((supported + unsupported) / 2)
    assert unsupported < 0.1
    assert without_passages == 0.0


def test_a_changed_number_lowers_support() -> None:
    judge = SupportJudge(embed, embedder="e1")
    passages = ("The tower clock of 1804 has four faces.",)

    right, wrong = judge.score_all(
        [
            JudgedAnswer("q", f"The tower clock of {year} has four faces.", passages)
            for year in (1804, 1951)
        ]
    )

    assert right - wrong > 0.1
