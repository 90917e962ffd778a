"""A judge of sentences: its error rates, the share behind what it flags, and when it decides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from twin_assets.evaluation.measures.sentence_faithfulness import (
    LIMIT,
    Faithfulness,
    SentenceCalibration,
    calibrate,
    calibrate_from_scores,
    claim,
    extract_claims,
    measure_faithfulness,
)
from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.planted_sentences import SENTENCE_ERROR_KINDS, ProbeSentence

DOCUMENTS = 20
FALSE_ALARMS, CAUGHT = 0.05, 0.9


class DrawnJudge:
    """Scores by a coin of known error rates; the sentence's first word says what it is."""

    name = "drawn"
    revision = "1"

    def __init__(self, chance: np.random.Generator, **caught: float) -> None:
        self._chance = chance
        self._flagged = (
            {"right": FALSE_ALARMS} | dict.fromkeys(SENTENCE_ERROR_KINDS, CAUGHT) | caught
        )

    def score(self, sentences_with_passages: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        return [
            float(self._chance.random() > self._flagged[sentence.split()[0]])
            for sentence, _ in sentences_with_passages
        ]


def planted() -> list[ProbeSentence]:
    return [
        ProbeSentence(f"{kind or 'right'} {number}.", ("A passage.",), f"post {document}", kind)
        for document in range(DOCUMENTS)
        for number in range(8)
        for kind in (None, *SENTENCE_ERROR_KINDS)
    ]


def calibration_of(judge: DrawnJudge) -> SentenceCalibration:
    plants = planted()
    scores = judge.score([(one.sentence, one.passages) for one in plants])
    found = calibrate_from_scores(judge.name, judge.revision, plants, scores)
    assert found is not None
    return found


def answered_with(chance: np.random.Generator, *, wrong: float) -> list[JudgedAnswer]:
    kinds = ["elsewhere" if chance.random() < wrong else "right" for _ in range(120)]
    return [
        JudgedAnswer("What?", f"{kind} sentence about clocks.", ("A passage.",)) for kind in kinds
    ]


def measured(seed: int, *, wrong: float, **caught: float) -> Faithfulness:
    chance = np.random.default_rng(seed)
    judge = DrawnJudge(chance, **caught)
    found = measure_faithfulness(
        judge,
        calibration_of(judge),
        answered_with(chance, wrong=wrong),
        documents=[f"post {at % 40}" for at in range(120)],
    )
    assert found is not None
    return found


def test_error_rates_are_measured_on_other_documents_than_the_threshold_comes_from() -> None:
    found = calibration_of(DrawnJudge(np.random.default_rng(1)))

    assert found.false_alarms.low <= FALSE_ALARMS <= found.false_alarms.high
    assert all(kind.flagged.low <= CAUGHT <= kind.flagged.high for kind in found.kinds)
    assert 40 <= found.false_alarms.of <= 120  # about half of the 160 right sentences
    assert found.is_reliable
    assert found.undetected_kinds == ()


@pytest.mark.parametrize("wrong", [0.05, 0.3, 0.6])
def test_the_corrected_share_covers_the_truth_where_the_flagged_share_does_not(
    wrong: float,
) -> None:
    found = [measured(seed, wrong=wrong) for seed in range(60)]

    covered = sum(one.unsupported.low <= wrong <= one.unsupported.high for one in found)
    assert covered >= 54  # of 60 at 95 % fewer are seen one time in a hundred
    middle = float(np.mean([one.unsupported.value for one in found]))
    assert middle == pytest.approx(wrong, abs=0.03)


def test_prose_of_which_a_third_is_unsupported_never_passes() -> None:
    third = [claim(measured(seed, wrong=0.33)) for seed in range(20)]
    half = [claim(measured(seed, wrong=0.5)) for seed in range(20)]

    assert not any(one.passed for one in third)
    assert all(one.passed is False for one in half)
    assert all(one.blocks == "voice" for one in third)


def test_prose_that_says_what_the_posts_say_passes() -> None:
    found = claim(measured(3, wrong=0.03))

    assert found.passed is True
    assert found.value is not None
    assert found.value < LIMIT


def test_a_judge_that_cannot_tell_right_from_wrong_decides_nothing_and_says_so() -> None:
    coin = dict.fromkeys(("right", *SENTENCE_ERROR_KINDS), 0.5)

    for found in [measured(seed, wrong=0.03, **coin) for seed in range(20)]:
        assert not found.calibration.is_reliable
        assert (found.unsupported.low, found.unsupported.high) == (0.0, 1.0)
        assert claim(found).passed is None
        assert "cannot tell this author's own sentences from wrong ones" in claim(found).detail


def test_a_judge_blind_to_negations_lets_nothing_pass_and_still_refuses() -> None:
    good, bad = (measured(5, wrong=wrong, negated=FALSE_ALARMS) for wrong in (0.01, 0.6))

    assert good.calibration.undetected_kinds == ("negations",)
    assert claim(good).passed is None
    assert "misses negations" in claim(good).detail
    assert claim(bad).passed is False


def test_a_share_near_the_limit_is_not_decided() -> None:
    found = claim(measured(4, wrong=LIMIT))

    assert found.passed is None
    assert found.detail.startswith("not decided: ")


def test_too_few_sentences_are_not_measured() -> None:
    chance = np.random.default_rng(2)
    judge = DrawnJudge(chance)
    few = answered_with(chance, wrong=0.5)[:19]

    assert measure_faithfulness(judge, calibration_of(judge), few, documents=range(19)) is None
    assert calibrate(judge, [("one", "A short passage.")]) is None


def test_only_what_an_answer_claims_is_judged() -> None:
    passage = ("A passage.",)
    answers = [
        JudgedAnswer("q", "The clock stopped. It was the spring. And then the pend", passage),
        JudgedAnswer("q", "The clock stopped because the", passage),
        JudgedAnswer("q", "Would you believe that? The clock stopped.", passage),
        JudgedAnswer("q", "I don't know about that.", passage),
        JudgedAnswer("q", "The clock stopped.", ()),
    ]

    assert extract_claims(answers) == [
        (0, "The clock stopped."),
        (0, "It was the spring."),
        (1, "The clock stopped because the"),
        (2, "The clock stopped."),
    ]
