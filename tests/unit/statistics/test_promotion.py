"""Test promotion by betting: hand-computed values, replays, several claims and error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.retraining.releases import find_promotion_pair
from twin_resources.statistics.bets import (
    FRACTIONS,
    log_mean_wealth,
    update_log_wealth,
    wealth_factor,
)
from twin_resources.statistics.bounds import OutOfRangeError
from twin_resources.statistics.promotion import (
    MAX_STANDARD_ERROR,
    PairedDifference,
    PairEvidence,
    add_pair,
    expected_pairs,
    final_verdict,
    mean_difference,
    mean_lower_bound,
    start_test,
)

differences = st.lists(st.floats(-1.0, 1.0), max_size=30)


def add_pairs(values: list[float], **options: object) -> PairEvidence:
    evidence = start_test(claims=("topic",), **options)  # type: ignore[arg-type]
    for number, value in enumerate(values, start=1):
        evidence = add_pair(evidence, PairedDifference(number, {"topic": value}))
    return evidence


def add_equal_pairs(evidence: PairEvidence, count: int, **differences: float) -> PairEvidence:
    """Return the evidence after `count` more pairs with these differences of the claims."""
    for _ in range(count):
        pair = PairedDifference(evidence.last_sequence + 1, differences)
        evidence = add_pair(evidence, pair)
    return evidence


def test_the_wealth_after_one_pair_matches_the_formulas() -> None:
    # ε = .1, so m = .45. d = 1, z = 1, r = 1: U factor 1 + (.9/.45)·.55 = 2.1;
    # D: 1 − z = 0, factor 1 − (.9/.5)·.5 = .1.
    evidence = add_pairs([1.0])
    assert math.exp(evidence.up["topic"][-1]) == pytest.approx(2.1)
    assert math.exp(evidence.down["topic"][-1]) == pytest.approx(0.1)
    expected = sum(1 + 2 * r * 0.55 for r in FRACTIONS) / 8
    assert math.exp(evidence.highest["topic"]) == pytest.approx(expected)


def test_a_clear_win_promotes_and_a_clear_loss_rolls_back() -> None:
    # With wins of z = 1, the largest bets of B and D grow by 1.9 per pair: 1.9⁸/8 = 21.2.
    won, lost = add_pairs([1.0] * 12), add_pairs([-1.0] * 12)
    assert (won.verdict, lost.verdict) == ("promote", "roll_back")
    assert won.pairs <= 8
    assert lost.pairs <= 8


def test_without_a_margin_only_a_better_candidate_wins() -> None:
    equal = [0.05, -0.05] * 150
    assert final_verdict(add_pairs(equal)) == "promote"
    assert final_verdict(add_pairs(equal, margin=0.0)) == "undecided"
    assert add_pairs([number + 0.1 for number in equal], margin=0.0).verdict == "promote"
    assert add_pairs([number - 0.1 for number in equal], margin=0.0).verdict == "roll_back"


def test_without_a_margin_an_equal_candidate_rarely_wins() -> None:
    rng = np.random.default_rng(7)
    runs = [list(np.clip(rng.normal(0.0, 0.4, 150), -1, 1)) for _ in range(200)]
    win_count = sum(add_pairs(run, margin=0.0).verdict == "promote" for run in runs)
    # at α = .05, 200 tries give more than 19 wins in one of 250 cases
    assert win_count <= 19
    assert expected_pairs(0.4, margin=0.0) == expected_pairs(0.4, margin=0.0, better_by=0.1)
    assert math.isfinite(expected_pairs(0.4, margin=0.0))


def test_equal_and_slightly_worse_candidates_are_not_promoted_early() -> None:
    """Both pass test U, which alone would promote nearly half of the worse candidates."""
    equal, worse = add_pairs([0.05, -0.05] * 150), add_pairs([0.04, -0.06] * 150)
    for evidence in (equal, worse):
        assert evidence.verdict == "undecided"
        assert evidence.is_not_worse
        assert not evidence.is_better
    assert (final_verdict(equal), final_verdict(worse)) == ("promote", "undecided")
    expected, error = mean_difference(worse)
    assert (expected, error) == (pytest.approx(-0.01), pytest.approx(0.05 / math.sqrt(299)))


def test_the_lower_bound_of_an_uncertain_mean_must_be_above_zero() -> None:
    noisy = [0.4, -0.4] * 150
    uncertain, better = add_pairs(noisy), add_pairs([value + 0.03 for value in noisy])
    expected, error = mean_difference(uncertain)
    assert error > MAX_STANDARD_ERROR
    assert (expected, uncertain.is_not_worse) == (pytest.approx(0.0, abs=1e-12), True)
    assert mean_lower_bound(uncertain) == pytest.approx(-1.6449 * error, rel=1e-4)
    assert final_verdict(uncertain) == "undecided"
    assert mean_difference(better)[0] > MAX_STANDARD_ERROR
    assert mean_lower_bound(better) < 0
    assert (better.verdict, final_verdict(better)) == ("undecided", "undecided")


def test_the_mean_is_over_claims_and_each_claim_must_be_won() -> None:
    """Only a quarter of equal candidates would have both of two means above zero."""
    rng = np.random.default_rng(2)
    promoted_count = 0
    for _ in range(60):
        evidence = start_test(claims=("topic", "voice"))
        for number, (topic, voice) in enumerate(rng.normal(0.0, 0.15, (300, 2)).tolist(), start=1):
            evidence = add_pair(
                evidence, PairedDifference(number, {"topic": topic, "voice": voice})
            )
        promoted_count += final_verdict(evidence) == "promote"
    assert 18 <= promoted_count <= 42  # half of 60, within three standard deviations
    evidence = add_equal_pairs(start_test(claims=("topic", "voice")), 300, topic=0.2, voice=-0.12)
    assert evidence.verdict == "roll_back", "a gain in topic compensated a loss in voice"


def test_worse_candidates_are_rarely_promoted_and_most_of_the_gain_remains() -> None:
    """Candidates have quality N(−.02, .05) and 300 judged prompts with a deviation of .2."""
    rng = np.random.default_rng(17)
    quality = rng.normal(-0.02, 0.05, 200)
    noisy = quality[:, None] + rng.normal(0.0, 0.2, (200, 300))
    runs = [add_pairs(values) for values in np.clip(noisy, -1.0, 1.0).tolist()]
    promoted = np.array([final_verdict(run) == "promote" for run in runs])
    not_worse = np.array([run.is_not_worse for run in runs])
    assert float(np.mean(promoted & (quality < 0))) <= 0.05
    assert float(np.mean(not_worse & (quality < 0))) > 0.35, (
        "U alone must promote many worse candidates"
    )
    gain, best_gain = float(np.sum(quality[promoted])), float(np.sum(quality[quality > 0]))
    assert gain >= 0.9 * best_gain


@given(differences)
@settings(max_examples=40, deadline=None)
def test_a_verdict_and_a_replayed_pair_change_nothing(values: list[float]) -> None:
    evidence = add_pairs(values)
    for number, value in enumerate(values, start=1):
        assert add_pair(evidence, PairedDifference(number, {"topic": value})) == evidence
    if evidence.verdict != "undecided":
        assert add_pair(evidence, PairedDifference(99, {"topic": -1.0})) == evidence


@given(differences)
@settings(max_examples=40, deadline=None)
def test_evidence_is_the_same_after_storing_and_reading_it(values: list[float]) -> None:
    plain = stored = start_test(claims=("topic", "voice"), vetoes=("support",))
    for number, value in enumerate(values, start=1):
        claims = {"topic": value, "voice": value / 2}
        pair = PairedDifference(number, {**claims, "support": -value})
        plain = add_pair(plain, pair)
        stored = add_pair(PairEvidence.from_json(stored.to_json()), pair)
    assert PairEvidence.from_json(stored.to_json()) == plain


@given(differences, st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_better_pairs_never_lower_the_wealth(values: list[float], improvement: float) -> None:
    logs, better = (0.0,) * 8, (0.0,) * 8
    for value in values:
        logs = update_log_wealth(logs, (1 + value) / 2, 0.45)
        better = update_log_wealth(better, (1 + min(1.0, value + improvement)) / 2, 0.45)
    assert log_mean_wealth(better) >= log_mean_wealth(logs) - 1e-9


@given(st.floats(0.0, 1.0), st.floats(0.01, 1.0), st.sampled_from(FRACTIONS))
def test_the_wealth_of_a_bet_stays_positive(
    value: float, null_mean: float, fraction: float
) -> None:
    largest = 1 + 0.9 * (1 - null_mean) / null_mean
    assert 0.1 - 1e-12 <= wealth_factor(value, null_mean, fraction) <= largest + 1e-9


def test_hundreds_of_losses_do_not_underflow() -> None:
    logs = (0.0,) * 8
    for _ in range(5_000):
        logs = update_log_wealth(logs, 0.0, 0.45)
    assert all(math.isfinite(log) for log in logs)
    assert math.isfinite(log_mean_wealth(logs))


def test_every_claim_must_be_won() -> None:
    evidence = add_equal_pairs(start_test(claims=("topic", "voice")), 2, topic=1.0, voice=0.1)
    evidence = add_equal_pairs(evidence, 38, topic=1.0, voice=0.0)
    assert evidence.highest["topic"] > evidence.log_promotion_threshold
    assert evidence.verdict == "undecided"
    evidence = add_equal_pairs(evidence, 79, topic=0.0, voice=0.5)
    assert evidence.verdict == "promote"  # topic was won earlier and stays won


def test_any_lost_claim_rolls_back_at_k_over_alpha() -> None:
    single_claim = add_pairs([-1.0] * 20)
    evidence = start_test(claims=("topic", "voice"), vetoes=("support",))
    assert evidence.log_rollback_threshold == pytest.approx(math.log(3 / 0.05))
    evidence = add_equal_pairs(evidence, 20, topic=0.2, voice=0.2, support=-1.0)
    assert evidence.verdict == "roll_back"
    assert evidence.pairs > single_claim.pairs


def test_a_veto_is_not_needed_for_a_promotion() -> None:
    evidence = start_test(claims=("topic",), vetoes=("support",))
    evidence = add_equal_pairs(evidence, 20, topic=1.0, support=0.0)
    assert evidence.verdict == "promote"


def test_the_mean_decides_against_a_version_that_passed_no_gate() -> None:
    gated = start_test(claims=("topic", "voice"))
    ungated = start_test(claims=("topic", "voice"), is_incumbent_ungated=True)
    # A model trained on shuffled answers has more of the author's voice than a model that answers.
    assert add_equal_pairs(gated, 60, topic=0.6, voice=-0.2).verdict == "roll_back"
    evidence = add_equal_pairs(ungated, 60, topic=0.6, voice=-0.2)
    assert evidence.verdict == "promote"
    assert (dict(evidence.up), list(evidence.down)) == ({}, ["mean of the claims"])
    assert PairEvidence.from_json(evidence.to_json()) == evidence
    assert add_equal_pairs(ungated, 60, topic=0.1, voice=-0.6).verdict == "roll_back"
    equal = add_equal_pairs(ungated, 60, topic=0.05, voice=-0.05)
    assert (equal.verdict, final_verdict(equal)) == ("undecided", "promote")


def test_each_claim_needs_a_difference_against_an_ungated_version() -> None:
    evidence = start_test(claims=("topic", "voice"), is_incumbent_ungated=True)
    with pytest.raises(OutOfRangeError, match="for voice"):
        add_pair(evidence, PairedDifference(1, {"topic": 0.1}))


@pytest.mark.parametrize("value", [-1.1, 1.1, float("nan")])
def test_impossible_differences_are_errors(value: float) -> None:
    with pytest.raises(OutOfRangeError, match="pair 1"):
        add_pairs([value])


@pytest.mark.parametrize(
    "options",
    [
        {"claims": ()},
        {"claims": ("a", "a")},
        {"claims": ("a",), "vetoes": ("a",)},
        {"claims": ("a",), "margin": -0.1},
        {"claims": ("a",), "alpha": 1.0},
    ],
)
def test_invalid_options_are_errors(options: dict[str, object]) -> None:
    with pytest.raises(OutOfRangeError, match="start a promotion test"):
        start_test(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("spread", "margin"), [(0.1, 0.1), (0.3, 0.1), (0.5, 0.1), (0.4, 0.2)])
def test_the_expected_number_of_pairs_is_within_15_percent(spread: float, margin: float) -> None:
    rng = np.random.default_rng(5)
    counts = find_promotion_pair(
        np.clip(rng.normal(0.0, spread, (400, 600)), -1.0, 1.0), margin=margin
    )
    assert expected_pairs(spread, margin=margin) == pytest.approx(np.median(counts), rel=0.15)


def test_a_candidate_at_the_margin_has_no_expected_end() -> None:
    assert expected_pairs(0.5, better_by=-0.1) == math.inf
    assert expected_pairs(0.5) > expected_pairs(0.5, better_by=0.1) > 1
