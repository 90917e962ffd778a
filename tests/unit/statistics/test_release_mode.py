"""Test release modes with their reasons, canary pairs and the findings of trials."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from tests.unit.statistics.test_promotion import add_pairs
from twin_resources.quality.release.release_mode import (
    TrialFeasibility,
    choose_mode,
    evaluate_evidence,
    pair_canary_values,
)
from twin_resources.statistics.promotion import (
    DEFAULT_SPREAD,
    PairedDifference,
    expected_pairs,
)

FEASIBILITY = TrialFeasibility(
    certified_claims=("topic", "voice"),
    prompt_count=300,
    canary_values_per_day=40.0,
    canary_reader_count=50,
)


def test_a_certified_judge_and_enough_prompts_give_a_shadow_trial() -> None:
    choice = choose_mode(FEASIBILITY)
    assert choice.mode == "shadow"
    assert choice.reason == (
        "shadow: a certified judge of topic and voice and 300 prompts to replay; the trial "
        "may end earlier if the version proves better or worse"
    )
    assert 150 < choice.expected_pairs < 300


def test_a_short_enough_canary_is_chosen() -> None:
    too_few = choose_mode(replace(FEASIBILITY, prompt_count=299))
    assert too_few.mode == "canary"
    assert "only 299 of 300 prompts" in too_few.reason
    assert too_few.expected_days == pytest.approx(too_few.expected_pairs / 40.0)
    assert choose_mode(replace(FEASIBILITY, certified_claims=())).reason.startswith(
        "canary: no certified judge"
    )


def test_the_gate_decides_otherwise_with_a_reason() -> None:
    no_votes = choose_mode(replace(FEASIBILITY, certified_claims=(), canary_values_per_day=0.0))
    assert (no_votes.mode, no_votes.expected_days) == ("gate", 0.0)
    assert "forever (no reader gives scores)" in no_votes.reason
    slow = choose_mode(replace(FEASIBILITY, certified_claims=(), canary_values_per_day=1.0))
    assert slow.mode == "gate"
    assert "a canary would take about 8 months; the limit is 14 days" in slow.reason
    too_few_readers = choose_mode(replace(FEASIBILITY, certified_claims=(), canary_reader_count=29))
    assert "29 of 30 readers needed" in too_few_readers.reason


def test_each_canary_value_is_paired_once_within_its_class() -> None:
    values = [
        (1, "v2", "fact", 1.0),  # no stable value waits
        (2, "v1", "fact", 0.5),
        (3, "v1", "fact", 1.0),
        (4, "v1", "how_to", 0.0),
        (5, "v2", "fact", 1.0),  # 1 − .75
        (6, "v2", "fact", 0.0),  # no fact value is left
        (7, "v3", "fact", 0.0),  # another version
        (8, "v2", "how_to", 0.0),
    ]
    pairs = pair_canary_values(values, candidate="v2", incumbent="v1", claim="thumbs")
    assert pairs == [PairedDifference(5, {"thumbs": 0.25}), PairedDifference(8, {"thumbs": 0.0})]
    assert pair_canary_values([], candidate="v2", incumbent="v1", claim="thumbs") == []


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
    harmful = evaluate_evidence(
        add_pairs([-0.6] * 60), mode="canary", is_exhausted=False, reader_count=3
    )
    assert harmful.finding == "roll_back"  # few readers can roll back
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
    uncertain = evaluate_evidence(
        add_pairs([0.4, -0.4] * 150), mode="canary", is_exhausted=True, reader_count=40
    )
    assert uncertain.finding == "exhausted"
    assert uncertain.reason.endswith("on average +0.000 ± 0.023, so at least -0.038")


def test_thumbs_of_too_few_readers_do_not_promote() -> None:
    evidence = add_pairs([0.6] * 30)
    finding = evaluate_evidence(evidence, mode="canary", is_exhausted=False, reader_count=29)
    assert finding.finding == "undecided"
    assert finding.reason.endswith("29 of 30 readers needed to promote")
    assert (
        evaluate_evidence(evidence, mode="canary", is_exhausted=True, reader_count=29).finding
        == "exhausted"
    )
    assert (
        evaluate_evidence(evidence, mode="canary", is_exhausted=False, reader_count=30).finding
        == "promote"
    )


@pytest.mark.parametrize("values", [[0.6] * 30, [-0.6] * 60])
def test_an_uncertified_judge_decides_nothing(values: list[float]) -> None:
    finding = evaluate_evidence(
        add_pairs(values), mode="shadow", is_exhausted=False, is_certified=False
    )
    assert finding.finding == "undecided"
    assert "the judge has no certificate" in finding.reason
    end = evaluate_evidence(add_pairs(values), mode="shadow", is_exhausted=True, is_certified=False)
    assert end.finding == "exhausted"
