"""Certificates: sound measures get one, others do not, and it can be withdrawn."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_resources.statistics.judges import certify, has_lost_certificate, probe_count
from twin_resources.statistics.values import OutOfRangeError


def drawn(mean: float, spread: float, count: int, *, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [max(-1.0, min(1.0, rng.gauss(mean, spread))) for _ in range(count)]


def test_a_measure_is_certified_on_the_plants_of_its_claim() -> None:
    far = drawn(0.7, 0.2, 40, seed=1)
    assert certify("topic × fluent", "topic", {"off_topic": far, "shuffled": far}).certified
    assert certify("style", "voice", {"another_author": far}).certified
    missing = certify("topic × fluent", "topic", {"off_topic": far, "shuffled": []})
    assert not missing.certified
    assert missing.counts == {"off_topic": 40, "shuffled": 0}
    one_short = {"another_author": far, "off_topic": far, "unsupported": [0.0] * 40}
    assert not certify("a model", "general", one_short).certified


def test_the_reason_says_the_numbers() -> None:
    reason = certify("style", "voice", {"another_author": [0.0] * 50}).reason
    assert reason.startswith("style may not decide on voice: own above another_author by at")
    assert reason.endswith("(50 pairs); needed 0.1")


@pytest.mark.parametrize("kind", ["constant", "random", "inverted", "barely"])
def test_measures_that_tell_nothing_get_none(kind: str) -> None:
    for seed in range(20):
        plants = {
            "constant": [0.0] * 200,
            "random": drawn(0.0, 0.4, 200, seed=seed),
            "inverted": drawn(-0.7, 0.2, 200, seed=seed),
            "barely": drawn(0.05, 0.2, 200, seed=seed),
        }[kind]
        assert not certify(kind, "voice", {"another_author": plants}).certified


def test_at_the_margin_a_certificate_is_rare() -> None:
    """With a true difference of ε at most .05 of the measures are certified (120 measures)."""
    wrong = sum(
        certify("m", "voice", {"another_author": drawn(0.1, 0.3, 60, seed=seed)}).certified
        for seed in range(120)
    )
    assert wrong <= 6


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_better_measure_is_not_bounded_lower(values: list[float], by: float) -> None:
    def bound(differences: list[float]) -> float:
        return certify("m", "voice", {"another_author": differences}).bounds["another_author"]

    assert -1.0 <= bound(values) <= 1.0
    assert bound([*values[:-1], 1.0]) >= bound(values) - 1e-9


def test_a_measure_that_lost_its_claim_is_withdrawn() -> None:
    assert has_lost_certificate([0.0] * 150)
    assert not has_lost_certificate(drawn(0.5, 0.3, 150, seed=3))
    wrongly = sum(has_lost_certificate(drawn(0.12, 0.3, 100, seed=seed)) for seed in range(60))
    assert wrongly <= 6


def test_a_twentieth_are_plants() -> None:
    assert [probe_count(batch) for batch in (0, 1, 20, 21, 100)] == [0, 1, 1, 2, 5]


def test_unknown_claims_and_impossible_differences() -> None:
    with pytest.raises(OutOfRangeError, match="for the claim 'taste'"):
        certify("m", "taste", {})
    with pytest.raises(OutOfRangeError, match=r"the difference 1\.5"):
        certify("m", "voice", {"another_author": [1.5]})
