"""Test that only sound measures get a certificate, and that it can be withdrawn."""

from __future__ import annotations

import random

import pytest

from twin_resources.statistics.bounds import OutOfRangeError
from twin_resources.statistics.judge_certification import certify, has_lost_certificate, probe_count


def draw_normal(mean: float, spread: float, count: int, *, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [max(-1.0, min(1.0, rng.gauss(mean, spread))) for _ in range(count)]


def test_a_measure_is_certified_on_the_probes_of_its_claim() -> None:
    large_differences = draw_normal(0.7, 0.2, 40, seed=1)
    assert certify(
        "topic × fluent", "topic", {"off_topic": large_differences, "shuffled": large_differences}
    ).certified
    assert certify("style", "voice", {"another_author": large_differences}).certified
    partial = certify("topic × fluent", "topic", {"off_topic": large_differences, "shuffled": []})
    assert not partial.certified
    assert partial.counts == {"off_topic": 40, "shuffled": 0}
    one_weak_kind = {
        "another_author": large_differences,
        "off_topic": large_differences,
        "unsupported": [0.0] * 40,
    }
    assert not certify("a model", "general", one_weak_kind).certified


def test_the_reason_has_the_numbers() -> None:
    reason = certify("style", "voice", {"another_author": [0.0] * 50}).reason
    assert reason.startswith("style may not decide on voice: own answers at least ")
    assert reason.endswith("(50 pairs); needed 0.1")


@pytest.mark.parametrize("measure", ["constant", "random", "inverted", "barely"])
def test_measures_without_a_difference_get_no_certificate(measure: str) -> None:
    for seed in range(20):
        probes = {
            "constant": [0.0] * 200,
            "random": draw_normal(0.0, 0.4, 200, seed=seed),
            "inverted": draw_normal(-0.7, 0.2, 200, seed=seed),
            "barely": draw_normal(0.05, 0.2, 200, seed=seed),
        }[measure]
        assert not certify(measure, "voice", {"another_author": probes}).certified


def test_a_measure_at_the_margin_is_rarely_certified() -> None:
    """With a true difference of ε, at most 5 % of 120 measures are certified."""
    error_count = sum(
        certify("m", "voice", {"another_author": draw_normal(0.1, 0.3, 60, seed=seed)}).certified
        for seed in range(120)
    )
    assert error_count <= 6


def test_the_certificate_of_a_failing_measure_is_withdrawn() -> None:
    assert has_lost_certificate([0.0] * 150)
    assert not has_lost_certificate(draw_normal(0.5, 0.3, 150, seed=3))
    error_count = sum(
        has_lost_certificate(draw_normal(0.12, 0.3, 100, seed=seed)) for seed in range(60)
    )
    assert error_count <= 6


def test_a_twentieth_of_the_prompts_are_probes() -> None:
    assert [probe_count(batch) for batch in (0, 1, 20, 21, 100)] == [0, 1, 1, 2, 5]


def test_unknown_claims_and_impossible_differences_are_errors() -> None:
    with pytest.raises(OutOfRangeError, match="for the claim 'taste'"):
        certify("m", "taste", {})
    with pytest.raises(OutOfRangeError, match=r"the difference 1\.5"):
        certify("m", "voice", {"another_author": [1.5]})
