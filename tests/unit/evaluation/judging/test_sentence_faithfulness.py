"""Test a sentence judge's error rates, refusals, the corrected share of errors and the claim."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from twin_assets.evaluation.measures.sentence_faithfulness import (
    SentenceCalibration,
    calibrate,
    calibrate_from_scores,
    decide_claim,
    estimate_unsupported,
    extract_statements,
    is_refusal,
)
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_resources.quality.judges.judge import JudgedAnswer
from twin_resources.quality.judges.sentence_probes import SENTENCE_ERROR_KINDS, ProbeSentence
from twin_resources.registry.moves import GateClaim

DOCUMENT_COUNT = 20
FALSE_ALARM_RATE, DETECTION_RATE = 0.05, 0.9


class RandomJudge:
    """A judge with known error rates; a sentence's first word is its kind."""

    name = "random"
    revision = "1"

    def __init__(self, rng: np.random.Generator, **detection_rates: float) -> None:
        self._rng = rng
        self._flag_rates = (
            {"right": FALSE_ALARM_RATE}
            | dict.fromkeys(SENTENCE_ERROR_KINDS, DETECTION_RATE)
            | detection_rates
        )

    def score(self, sentences_with_passages: Sequence[tuple[str, tuple[str, ...]]]) -> list[float]:
        return [
            float(self._rng.random() > self._flag_rates[sentence.split()[0]])
            for sentence, _ in sentences_with_passages
        ]


def make_probes() -> list[ProbeSentence]:
    return [
        ProbeSentence(f"{kind or 'right'} {number}.", ("A passage.",), f"post {document}", kind)
        for document in range(DOCUMENT_COUNT)
        for number in range(8)
        for kind in (None, *SENTENCE_ERROR_KINDS)
    ]


def calibrate_judge(judge: RandomJudge) -> SentenceCalibration:
    probes = make_probes()
    scores = judge.score([(probe.sentence, probe.passages) for probe in probes])
    result = calibrate_from_scores(judge.name, judge.revision, probes, scores)
    assert result is not None
    return result


def draw_answers(rng: np.random.Generator, *, wrong_share: float) -> list[JudgedAnswer]:
    kinds = ["elsewhere" if rng.random() < wrong_share else "right" for _ in range(120)]
    return [
        JudgedAnswer("What?", f"{kind} sentence about clocks.", ("A passage.",)) for kind in kinds
    ]


DOCUMENTS = [f"post {index % 40}" for index in range(120)]


def decide(seed: int, *, wrong_share: float, **detection_rates: float) -> GateClaim:
    rng = np.random.default_rng(seed)
    judge = RandomJudge(rng, **detection_rates)
    answers = draw_answers(rng, wrong_share=wrong_share)
    claim = decide_claim(judge, calibrate_judge(judge), answers, documents=DOCUMENTS)
    assert isinstance(claim, GateClaim)
    return claim


def test_error_rates_are_measured() -> None:
    result = calibrate_judge(RandomJudge(np.random.default_rng(1)))

    assert result.false_alarms.low <= FALSE_ALARM_RATE <= result.false_alarms.high
    assert all(kind.flagged.low <= DETECTION_RATE <= kind.flagged.high for kind in result.kinds)
    assert 40 <= result.false_alarms.of <= 120  # about half of the 160 right sentences
    assert result.is_reliable
    assert result.undetected_kinds == ()


@pytest.mark.long
@pytest.mark.parametrize("wrong_share", [0.05, 0.3, 0.6])
def test_the_interval_of_the_corrected_share_covers_the_truth(wrong_share: float) -> None:
    intervals: list[Interval] = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        judge = RandomJudge(rng)
        calibration = calibrate_judge(judge)
        answers = draw_answers(rng, wrong_share=wrong_share)
        scores = judge.score([(answer.answer, ()) for answer in answers])
        flags = [score < calibration.threshold for score in scores]
        intervals.append(estimate_unsupported(flags, DOCUMENTS, calibration)[0])

    covered_count = sum(interval.low <= wrong_share <= interval.high for interval in intervals)
    assert covered_count >= 54  # a 95 % interval covers fewer than 54 of 60 one time in a hundred
    mean = float(np.mean([interval.value for interval in intervals]))
    assert mean == pytest.approx(wrong_share, abs=0.03)


def test_prose_that_the_check_cannot_clean_never_passes() -> None:
    # of 88 wrong sentences in 100, the check lets 8.8 through beside 11.4 right ones
    claims = [decide(seed, wrong_share=0.88) for seed in range(20)]
    hopeless_claims = [decide(seed, wrong_share=0.97) for seed in range(20)]

    assert not any(result.passed for result in claims)
    assert all(result.passed is False for result in hopeless_claims)
    assert all(result.blocks == "voice" for result in claims)


def test_prose_passes_if_few_of_its_sentences_are_wrong() -> None:
    claim = decide(3, wrong_share=0.03)
    calibration = calibrate_judge(RandomJudge(np.random.default_rng(3)))

    assert claim.passed is True
    assert claim.value is not None
    assert claim.value <= 0.1
    assert claim.cut == calibration.sentence_threshold


def test_a_second_judge_reads_only_what_the_gateways_judge_shows() -> None:
    rng = np.random.default_rng(6)
    judge, gateway_judge = RandomJudge(rng), RandomJudge(rng, elsewhere=0.99)
    threshold = calibrate_judge(gateway_judge).sentence_threshold
    assert threshold is not None
    answers = draw_answers(rng, wrong_share=0.5)
    checked, unchecked = (
        decide_claim(
            judge,
            calibrate_judge(judge),
            answers,
            documents=DOCUMENTS,
            gateway_judge=gateway_judge,
            gateway_threshold=cut,
        )
        for cut in (threshold, None)
    )

    assert isinstance(checked, GateClaim)
    assert isinstance(unchecked, GateClaim)
    assert (checked.passed, checked.cut) == (True, threshold)
    assert unchecked.passed is False
    assert "of all sentences, of which too few pass the check" in unchecked.detail


def test_if_nothing_passes_the_check_the_claim_is_about_all_sentences() -> None:
    claim = decide(7, wrong_share=1.0, **dict.fromkeys(SENTENCE_ERROR_KINDS, 1.0))

    assert (claim.passed, claim.value) == (False, 1.0)
    assert "of all sentences, of which too few pass the check" in claim.detail


def test_an_unreliable_judge_decides_nothing() -> None:
    guesses = dict.fromkeys(("right", *SENTENCE_ERROR_KINDS), 0.5)

    for claim in [decide(seed, wrong_share=0.03, **guesses) for seed in range(20)]:
        assert (claim.passed, claim.value) == (None, None)
        assert "cannot tell this author's own sentences from wrong ones" in claim.detail


def test_a_judge_that_misses_negations_can_only_refuse() -> None:
    good, bad = (
        decide(5, wrong_share=wrong_share, negated=FALSE_ALARM_RATE) for wrong_share in (0.01, 0.8)
    )

    assert good.passed is None
    assert "it misses negations: set TWIN_NLI_MODEL" in good.detail
    assert bad.passed is False


def test_a_share_near_the_limit_is_not_decided() -> None:
    # Readers found that the check misses more of a model's errors than of planted ones.
    claim = decide(3, wrong_share=0.3)

    assert claim.passed is None
    assert claim.detail.startswith("not decided: ")


def test_too_few_sentences_are_not_measured() -> None:
    rng = np.random.default_rng(2)
    judge = RandomJudge(rng)
    answers = draw_answers(rng, wrong_share=0.5)[:19]

    reason = decide_claim(judge, calibrate_judge(judge), answers, documents=range(19))
    assert reason == "fewer than 20 sentences in answers with passages"
    assert calibrate(judge, [("one", "A short passage.")]) is None


def test_only_complete_statements_are_judged() -> None:
    passage = ("A passage.",)
    answers = [
        JudgedAnswer("q", "The clock stopped. It was the spring. And then the pend", passage),
        JudgedAnswer("q", "The clock stopped because the", passage),
        JudgedAnswer("q", "Would you believe that? The clock stopped.", passage),
        JudgedAnswer("q", "I don't know about that.", passage),
        JudgedAnswer("q", "The clock stopped.", ()),
    ]

    assert extract_statements(answers) == [
        (0, "The clock stopped."),
        (0, "It was the spring."),
        (1, "The clock stopped because the"),
        (2, "The clock stopped."),
    ]


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
def test_refusals_are_detected(answer: str) -> None:
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
def test_other_answers_are_not_refusals(answer: str) -> None:
    assert not is_refusal(answer)
