"""Release modes with their reasons, canary pairs, findings: parked is not rolled back."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from twin_resources.quality.release.release_mode import (
    TrialFeasibility,
    canary_pairs,
    choose_mode,
    evaluate_evidence,
)
from twin_resources.statistics.promotion import (
    DEFAULT_SPREAD,
    PairedDifference,
    PairEvidence,
    begin,
    expected_pairs,
    fold,
)

TRIAL = TrialFeasibility(
    certified_claims=("topic", "voice"),
    prompt_count=300,
    canary_values_per_day=40.0,
    canary_readers=50,
)


def test_shadow_with_a_certified_judge_and_enough_prompts() -> None:
    choice = choose_mode(TRIAL)
    assert choice.mode == "shadow"
    assert choice.reason == (
        "shadow: a certified judge of topic and voice and 300 prompts to replay; the trial "
        "may end earlier if the version proves better or worse"
    )
    assert 150 < choice.expected_pairs < 300


def test_canary_when_it_is_short_enough() -> None:
    few = choose_mode(replace(TRIAL, prompt_count=299))
    assert few.mode == "canary"
    assert "only 299 of 300 prompts" in few.reason
    assert few.expected_days == pytest.approx(few.expected_pairs / 40.0)
    assert choose_mode(replace(TRIAL, certified_claims=())).reason.startswith(
        "canary: no certified judge"
    )


def test_gate_otherwise_and_why() -> None:
    nobody = choose_mode(replace(TRIAL, certified_claims=(), canary_values_per_day=0.0))
    assert (nobody.mode, nobody.expected_days) == ("gate", 0.0)
    assert "forever (no reader gives scores)" in nobody.reason
    slow = choose_mode(replace(TRIAL, certified_claims=(), canary_values_per_day=1.0))
    assert slow.mode == "gate"
    assert "a canary would take about 8 months, more than 14 days" in slow.reason
    lonely = choose_mode(replace(TRIAL, certified_claims=(), canary_readers=29))
    assert "29 of the 30 readers needed" in lonely.reason


def test_canary_values_are_paired_within_their_class_each_used_once() -> None:
    values = [
        (1, "v2", "fact", 1.0),  # nothing waits for it
        (2, "v1", "fact", 0.5),
        (3, "v1", "fact", 1.0),
        (4, "v1", "how_to", 0.0),
        (5, "v2", "fact", 1.0),  # 1 − .75
        (6, "v2", "fact", 0.0),  # the fact values are used up
        (7, "v3", "fact", 0.0),  # neither of the two
        (8, "v2", "how_to", 0.0),
    ]
    pairs = canary_pairs(values, candidate="v2", incumbent="v1", claim="thumbs")
    assert pairs == [PairedDifference(5, {"thumbs": 0.25}), PairedDifference(8, {"thumbs": 0.0})]
    assert canary_pairs([], candidate="v2", incumbent="v1", claim="thumbs") == []


def after(values: list[float]) -> PairEvidence:
    evidence = begin(claims=("topic",))
    for number, value in enumerate(values, start=1):
        evidence = fold(evidence, PairedDifference(number, {"topic": value}))
    return evidence


def test_findings() -> None:
    some = after([0.0, 0.3, -0.2] * 10)
    running = evaluate_evidence(some, mode="shadow", exhausted=False)
    assert running.finding == "undecided"
    needed = expected_pairs(statistics.stdev([0.0, 0.3, -0.2] * 10))
    assert running.reason.startswith(f"shadow: 30 of about {needed:.0f} pairs; ")
    few = evaluate_evidence(after([0.0, 0.3, -0.2] * 3), mode="shadow", exhausted=False)
    assert few.reason.startswith(f"shadow: 9 of about {expected_pairs(DEFAULT_SPREAD):.0f} pairs; ")
    parked = evaluate_evidence(some, mode="shadow", exhausted=True)
    assert parked.finding == "exhausted"
    assert "parked, 30 of about " in parked.reason
    promoted = evaluate_evidence(after([0.6] * 30), mode="shadow", exhausted=True)
    assert promoted.finding == "promote"
    assert promoted.reason.startswith("shadow: better, after ")
    harm = evaluate_evidence(after([-0.6] * 60), mode="canary", exhausted=False, readers=3)
    assert harm.finding == "roll_back"  # few readers may veto
    assert "worse than the stable version" in harm.reason


def test_at_the_end_the_mean_decides_about_what_is_not_worse_by_the_margin() -> None:
    equal = after([0.02, -0.02] * 150)
    assert evaluate_evidence(equal, mode="shadow", exhausted=False).finding == "undecided"
    won = evaluate_evidence(equal, mode="shadow", exhausted=True)
    assert won.finding == "promote"
    assert "not worse by 0.1 or more, and on average +0.000 ± 0.001" in won.reason
    worse = evaluate_evidence(after([0.01, -0.03] * 150), mode="shadow", exhausted=True)
    assert worse.finding == "exhausted"
    assert worse.reason.endswith("on average -0.010 ± 0.001")
    uncertain = evaluate_evidence(
        after([0.4, -0.4] * 150), mode="canary", exhausted=True, readers=40
    )
    assert uncertain.finding == "exhausted"
    assert uncertain.reason.endswith("on average +0.000 ± 0.023, so at least -0.038")


def test_a_finding_without_a_margin_says_better() -> None:
    evidence = begin(claims=("topic",), margin=0.0)
    finding = evaluate_evidence(evidence, mode="shadow", exhausted=False)
    assert "0 of about " in finding.reason
    for number in range(1, 12):
        evidence = fold(evidence, PairedDifference(number, {"topic": 1.0}))
    finding = evaluate_evidence(evidence, mode="shadow", exhausted=False)
    assert finding.finding == "promote"
    assert finding.reason.startswith("shadow: better, after ")


def test_not_worse_without_a_margin_is_told_as_better() -> None:
    evidence = begin(claims=("topic", "voice"), margin=0.0)
    for number in range(1, 25):
        topic, voice = (0.7, -0.2) if number < 11 else (-0.2, 0.7)
        evidence = fold(evidence, PairedDifference(number, {"topic": topic, "voice": voice}))
    assert evidence.is_not_worse
    assert not evidence.is_better  # its bet was won before voice's, and fell
    finding = evaluate_evidence(evidence, mode="shadow", exhausted=True)
    assert finding.finding == "promote"
    assert finding.reason.startswith("shadow: better, after 24 pairs")


def test_thumbs_of_too_few_readers_do_not_promote() -> None:
    won = after([0.6] * 30)
    finding = evaluate_evidence(won, mode="canary", exhausted=False, readers=29)
    assert finding.finding == "undecided"
    assert finding.reason.endswith("29 of 30 readers needed to promote")
    assert evaluate_evidence(won, mode="canary", exhausted=True, readers=29).finding == "exhausted"
    assert evaluate_evidence(won, mode="canary", exhausted=False, readers=30).finding == "promote"


@pytest.mark.parametrize("values", [[0.6] * 30, [-0.6] * 60])
def test_a_judge_without_a_certificate_decides_nothing(values: list[float]) -> None:
    finding = evaluate_evidence(after(values), mode="shadow", exhausted=False, certified=False)
    assert finding.finding == "undecided"
    assert "the judge has no certificate" in finding.reason
    end = evaluate_evidence(after(values), mode="shadow", exhausted=True, certified=False)
    assert end.finding == "exhausted"
