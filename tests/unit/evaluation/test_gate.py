"""The gate's claims from measured values: what passes, what fails, what cannot be decided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twin_assets.evaluation.gate import (
    CLAIMS,
    Comparison,
    Measured,
    OnTopic,
    decide,
    outcome_of,
)
from twin_assets.evaluation.served_answers import on_topic
from twin_resources.registry.moves import Claim

GOOD = Measured(
    passages=60,
    perplexity=23.5,
    base=Comparison("base model", 34.6, 0.68, 0.66, 0.70),
    incumbent=None,
    incumbent_name="",
    template="aa",
    dataset_templates=("aa",),
    parity_mean=0.002,
    parity_largest=0.02,
    parity_prompts=20,
    on_topic=OnTopic(30, 0.88, 0.85, -0.05, 0.11, (0.1, 0.46)),
)
INCUMBENT = Comparison("v3", 23.0, 1.02, 1.00, 1.04)


def claim(measured: Measured, name: str) -> Claim:
    return next(one for one in decide(measured) if one.name == name)


def test_a_first_model_that_beats_its_base_passes_and_says_that_there_is_no_incumbent() -> None:
    claims = decide(GOOD)

    assert tuple(one.name for one in claims) == CLAIMS
    assert outcome_of(claims) == "passed"
    assert "no incumbent" in claim(GOOD, "not_worse_than_incumbent").detail
    assert "34.60" in claim(GOOD, "beats_base_model").detail


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({"base": Comparison("base model", 34.6, 1.01, 0.99, 1.03)}, "beats_base_model"),
        # better on these passages, but not by more than the passages differ among themselves
        ({"base": Comparison("base model", 34.6, 0.99, 0.97, 1.01)}, "beats_base_model"),
        (
            {"incumbent": replace(INCUMBENT, ratio=1.051), "incumbent_name": "v3"},
            "not_worse_than_incumbent",
        ),
        ({"dataset_templates": ("aa", "bb")}, "template_hash_matches"),
        ({"dataset_templates": ("bb",)}, "template_hash_matches"),
        ({"dataset_templates": ()}, "template_hash_matches"),
        ({"parity_mean": 0.011}, "served_model_matches"),
        ({"parity_largest": 0.051}, "served_model_matches"),
    ],
)
def test_one_unmet_claim_fails_the_verdict(change: dict[str, object], failed: str) -> None:
    measured = replace(GOOD, **change)

    assert [one.name for one in decide(measured) if not one.passed] == [failed]
    assert outcome_of(decide(measured)) == "failed"


def test_an_incumbent_up_to_five_percent_better_does_not_refuse() -> None:
    measured = replace(GOOD, incumbent=INCUMBENT, incumbent_name="v3")

    found = claim(measured, "not_worse_than_incumbent")
    assert found.passed
    assert found.value == 1.02
    assert "v3" in found.detail


def test_too_few_passages_decide_nothing_and_say_how_many_are_needed() -> None:
    few = replace(GOOD, passages=29, perplexity=None, base=None, incumbent_name="v3", on_topic=None)

    claims = {one.name: one for one in decide(few)}
    assert claims["beats_base_model"].passed is None
    assert claims["not_worse_than_incumbent"].passed is None
    assert "29" in claims["beats_base_model"].detail
    assert "30" in claims["beats_base_model"].detail
    assert outcome_of(tuple(claims.values())) == "not_decided"


def test_a_failed_claim_outweighs_an_undecided_one() -> None:
    few = replace(GOOD, passages=3, perplexity=None, base=None, parity_mean=0.5)

    assert outcome_of(decide(few)) == "failed"


def test_a_server_that_was_not_asked_decides_nothing() -> None:
    unasked = replace(GOOD, parity_mean=None, parity_largest=None, parity_prompts=0)

    assert claim(unasked, "served_model_matches").passed is None
    assert outcome_of(decide(unasked)) == "not_decided"


@pytest.mark.parametrize(("candidate", "passed"), [(0.88, True), (0.71, True), (0.69, False)])
def test_a_model_may_be_at_most_fifteen_hundredths_less_on_topic_than_its_base(
    candidate: float, passed: bool
) -> None:
    measured = replace(GOOD, on_topic=replace(GOOD.on_topic, candidate=candidate))

    found = claim(measured, "stays_on_topic")

    assert found.passed is passed
    assert found.value == pytest.approx(candidate - 0.85)
    assert "30 held-out questions" in found.detail


def test_without_a_topic_scale_the_gate_says_why_and_refuses() -> None:
    measured = replace(GOOD, on_topic=None, on_topic_why_not="questions do not fit: read some rows")

    found = claim(measured, "stays_on_topic")
    assert found.passed is None
    assert "read some rows" in found.detail
    assert outcome_of(decide(measured)) == "not_decided"


def test_the_interval_of_a_topic_difference_is_of_pairs() -> None:
    same = on_topic([0.9, 0.1, 0.8, 0.2], [0.8, 0.0, 0.7, 0.1], scale=(0.1, 0.5))

    assert (same.candidate, same.base) == (pytest.approx(0.5), pytest.approx(0.4))
    # every pair differs by the same: the spread over questions does not blur it
    assert (same.low, same.high) == (pytest.approx(0.1), pytest.approx(0.1))
    apart = on_topic([1.0, 0.0], [0.0, 1.0], scale=(0.1, 0.5))
    assert apart.low < -1.0 < 1.0 < apart.high
