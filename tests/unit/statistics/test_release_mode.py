"""Test release modes with their reasons and the findings of trials."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from tests.unit.statistics.test_promotion import add_pairs
from twin_resources.quality.release.release_mode import (
    TrialFeasibility,
    choose_mode,
    evaluate_evidence,
)
from twin_resources.statistics.promotion import (
    DEFAULT_SPREAD,
    expected_pairs,
)

FEASIBILITY = TrialFeasibility(
    certified_claims=("topic", "voice"),
    prompt_count=300,
)


def test_a_certified_judge_and_enough_prompts_give_a_shadow_trial() -> None:
    choice = choose_mode(FEASIBILITY)
    assert choice.mode == "shadow"
    assert choice.reason == (
        "shadow: a certified judge of topic and voice and 300 prompts to replay; the trial "
        "may end earlier if the version proves better or worse"
    )
    assert 150 < choice.expected_pairs < 300


def test_the_gate_decides_otherwise_with_a_reason() -> None:
    uncertified = choose_mode(replace(FEASIBILITY, certified_claims=()))
    assert (uncertified.mode, uncertified.expected_pairs) == ("gate", 0.0)
    assert "gate: no certified judge; the gate must show" in uncertified.reason
    few = choose_mode(replace(FEASIBILITY, prompt_count=299))
    assert "only 299 of 300 prompts to replay" in few.reason


def test_evidence_and_mode_determine_the_finding() -> None:
    undecided = add_pairs([0.0, 0.3, -0.2] * 10)
    running = evaluate_evidence(undecided, mode="shadow", is_exhausted=False)
    assert running.finding == "undecided"
    expected = expected_pairs(statistics.stdev([0.0, 0.3, -0.2] * 10))
    assert running.reason.startswith(f"shadow: 30 of about {expected:.0f} pairs; ")
    few = evaluate_evidence(add_pairs([0.0, 0.3, -0.2] * 3), mode="shadow", is_exhausted=False)
    assert few.reason.startswith(f"shadow: 9 of about {expected_pairs(DEFAULT_SPREAD):.0f} pairs; ")
    parked = evaluate_evidence(undecided, mode="shadow", is_exhausted=True)
    assert parked.finding == "exhausted"
    assert "parked, 30 of about " in parked.reason
    promoted = evaluate_evidence(add_pairs([0.6] * 30), mode="shadow", is_exhausted=True)
    assert promoted.finding == "promote"
    assert promoted.reason.startswith("shadow: better, after ")
    harmful = evaluate_evidence(add_pairs([-0.6] * 60), mode="shadow", is_exhausted=False)
    assert harmful.finding == "roll_back"
    assert "worse than the stable version" in harmful.reason


def test_at_the_end_the_mean_decides_within_the_margin() -> None:
    equal = add_pairs([0.02, -0.02] * 150)
    assert evaluate_evidence(equal, mode="shadow", is_exhausted=False).finding == "undecided"
    finding = evaluate_evidence(equal, mode="shadow", is_exhausted=True)
    assert finding.finding == "promote"
    assert "not worse by 0.1 or more, and on average +0.000 ± 0.001" in finding.reason
    worse = evaluate_evidence(add_pairs([0.01, -0.03] * 150), mode="shadow", is_exhausted=True)
    assert worse.finding == "exhausted"
    assert worse.reason.endswith("on average -0.010 ± 0.001")
    uncertain = evaluate_evidence(add_pairs([0.4, -0.4] * 150), mode="shadow", is_exhausted=True)
    assert uncertain.finding == "exhausted"
    assert uncertain.reason.endswith("on average +0.000 ± 0.023, so at least -0.038")


@pytest.mark.parametrize("values", [[0.6] * 30, [-0.6] * 60])
def test_an_uncertified_judge_decides_nothing(values: list[float]) -> None:
    finding = evaluate_evidence(
        add_pairs(values), mode="shadow", is_exhausted=False, is_certified=False
    )
    assert finding.finding == "undecided"
    assert "the judge has no certificate" in finding.reason
    end = evaluate_evidence(add_pairs(values), mode="shadow", is_exhausted=True, is_certified=False)
    assert end.finding == "exhausted"
