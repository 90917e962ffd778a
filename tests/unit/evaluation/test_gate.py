"""Test which claims pass, fail or stay undecided, and the verdict that they make."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.unit.evaluation.contexts import make_context, make_likelihoods, make_samples
from tests.unit.evaluation.test_evaluation_spec import SAMPLES, SPEC
from twin_assets.evaluation.evaluation_spec import EvaluatedModel
from twin_assets.evaluation.gate import (
    CLAIMS,
    CLAIMS_ON_REQUEST,
    FIRST_CLAIMS,
    RULES,
    decide_claims,
    decide_outcome,
    is_full_gate,
    select_claims,
)
from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.likelihood.sample_likelihoods import (
    LikelihoodSamples,
    LikelihoodsByModel,
)
from twin_assets.evaluation.measures import (
    MEASURES,
    front_desk,
    held_out_perplexity,
    on_topic,
    prompt_template,
    served_parity,
)
from twin_assets.evaluation.served.parity import Parity
from twin_assets.evaluation.statistics.bootstrap import Interval
from twin_assets.evaluation.statistics.rates import compute_rate
from twin_resources.authors.answer_forms import ANSWER_FORMS, QUOTE_ONLY
from twin_resources.registry.moves import GateClaim, Verdict, describe_refusal, prose_release

PASSING_CLAIMS = tuple(
    GateClaim(name, True, 0.68, 1.0, f"{name} is met", blocks=rule.blocks)
    for name, rule in RULES.items()
)
PROSE_CLAIM = "says_what_the_posts_say"
PARITY = Parity(20, 800, 0.002, 0.02)
BASE = SPEC.base.name
INCUMBENT, BEST = (EvaluatedModel(name, name, Path("base")) for name in ("v3", "v1"))


def change_claims(claims: tuple[GateClaim, ...], **passed: bool | None) -> tuple[GateClaim, ...]:
    """Return the claims with other results, by name."""
    return tuple(replace(claim, passed=passed.get(claim.name, claim.passed)) for claim in claims)


def test_the_claims_of_each_part_of_the_gate() -> None:
    assert set(FIRST_CLAIMS) == {
        *("beats_base_model", "not_worse_than_incumbent", "template_hash_matches"),
        *("served_model_matches", "stays_on_topic", "recites_no_training_text", "answers_safely"),
    }
    assert set(CLAIMS) == {*FIRST_CLAIMS, "learns_this_author", PROSE_CLAIM}
    assert set(CLAIMS_ON_REQUEST) == {
        *("keeps_common_knowledge", "keeps_the_basics", "sounds_like_this_author"),
        "sounds_less_like_the_base",
        *("keeps_following_instructions", "recognises_danger", "answers_ordinary_questions"),
    }
    claims = select_claims(reversed(PASSING_CLAIMS), CLAIMS)
    assert [claim.name for claim in claims] == list(CLAIMS)
    assert is_full_gate(claims)
    assert not is_full_gate(select_claims(claims, FIRST_CLAIMS))


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_must_be_met_except_the_one_about_prose(name: str) -> None:
    claims = select_claims(PASSING_CLAIMS, CLAIMS)
    outcomes = [decide_outcome(change_claims(claims, **{name: met})) for met in (True, False, None)]

    blocks_nothing = name == PROSE_CLAIM
    assert outcomes == [
        "passed",
        *(["passed"] * 2 if blocks_nothing else ["failed", "not_decided"]),
    ]
    other = "beats_base_model" if name != "beats_base_model" else "answers_safely"
    failed_and_undecided = change_claims(claims, **{name: None, other: False})
    assert decide_outcome(failed_and_undecided) == "failed"


@pytest.mark.parametrize("met", [False, None])
def test_unsupported_prose_blocks_only_the_voice(met: bool | None) -> None:
    supported = select_claims(PASSING_CLAIMS, CLAIMS)
    unsupported = change_claims(supported, **{PROSE_CLAIM: met})

    assert prose_release(supported).forms == ANSWER_FORMS
    assert prose_release(unsupported).forms == QUOTE_ONLY
    verdict = Verdict("mara", "c", "gate", decide_outcome(unsupported), unsupported, "")
    assert describe_refusal(verdict) == "the gate could not decide"  # the reason names no claim


@pytest.mark.parametrize(
    ("ratios", "spread", "met", "value"),
    [
        # ratios to the base, the stable version and the best released version
        ((0.68, None, None), 0.05, (True, True), None),
        ((1.01, None, None), 0.0, (False, True), None),
        # better on these passages, but by less than the passages differ from each other
        ((0.99, None, None), 0.1, (False, True), None),
        ((0.68, 1.02, None), 0.05, (True, True), 1.02),
        # 2 % worse on these passages, possibly 7 %
        ((0.68, 1.02, None), 0.2, (True, False), 1.02),
        ((0.68, 1.02, 1.09), 0.05, (True, False), 1.02),
        # the best released version counts without a stable one
        ((0.68, None, 1.09), 0.05, (True, False), 1.09),
        # three releases, each 4 % worse than its predecessor
        ((0.68, 1.04, 1.04), 0.01, (True, True), 1.04),
        ((0.68, 1.04, 1.04**2), 0.01, (True, False), 1.04),
    ],
)
def test_the_perplexity_is_compared_with_the_base_and_released_versions(
    ratios: tuple[float, float | None, float | None],
    spread: float,
    met: tuple[bool, bool],
    value: float | None,
) -> None:
    models = {BASE: ratios[0], "v3": ratios[1], "v1": ratios[2]}
    spec = replace(
        SPEC,
        incumbent=None if ratios[1] is None else INCUMBENT,
        best=None if ratios[2] is None else BEST,
    )
    likelihoods = make_likelihoods(
        {name: ratio for name, ratio in models.items() if ratio is not None}, spread=spread
    )

    beats_base, not_worse = held_out_perplexity.decide(
        make_context(spec=spec, likelihoods=likelihoods)
    )

    assert (beats_base.passed, not_worse.passed) == met
    assert beats_base.value == pytest.approx(ratios[0])
    assert not_worse.value == (value if value is None else pytest.approx(value))
    assert f"base model {33.115 / ratios[0]:.2f}: " in beats_base.detail
    # a release without a trial reads both fields
    assert not_worse.beside == ("" if ratios[1] is None else "v3")
    assert (not_worse.high is None) is (ratios[1] is None)
    if value is None:
        assert "no incumbent" in not_worse.detail
    for name, title in (("v3", "; v3 "), ("v1", "; best released version v1 ")):
        assert (title in not_worse.detail) is (models[name] is not None)


def test_the_passages_and_the_level_of_an_early_look_are_named() -> None:
    likelihoods = make_likelihoods({BASE: 0.7}, spread=0.05, read=15, count=60)
    claim, _ = held_out_perplexity.decide(
        make_context(likelihoods=replace(likelihoods, level=0.99))
    )

    assert claim.passed
    assert "(99 %: " in claim.detail
    assert claim.detail.endswith("on 15 of 60 passages")


def test_too_few_passages_decide_nothing() -> None:
    likelihoods = LikelihoodsByModel(LikelihoodSamples(held_out_count=29))
    context = make_context(likelihoods=likelihoods, spec=replace(SPEC, incumbent=INCUMBENT))

    claims = held_out_perplexity.decide(context)

    assert [claim.passed for claim in claims] == [None, None]
    for claim in claims:
        assert claim.detail.startswith("not decided: 29 held-out passages, but 30 are needed")


@pytest.mark.parametrize("rendered", [("aa",), ("bb",), ("aa", "bb"), ()])
def test_all_samples_need_the_template_of_the_checkpoint(rendered: tuple[str, ...]) -> None:
    dataset = pl.DataFrame({"template": rendered}, schema={"template": pl.String})
    [claim] = prompt_template.decide(
        make_context(spec=replace(SPEC, template="aa", dataset=dataset))
    )

    assert claim.passed is (rendered == ("aa",))
    assert (", ".join(rendered) or "no template") in claim.detail


@pytest.mark.parametrize(
    ("changes", "met", "text"),
    [
        ({}, True, "0.0020 on average (limit 0.01)"),
        (
            {"interval": Interval(0.002, 0.0015, 0.0026)},
            True,
            "0.0020 on average (95 %: 0.0015 to 0.0026; limit 0.01)",
        ),
        ({"mean": 0.011}, False, "0.0110 on average"),
        ({"largest": 0.051}, False, "0.0510 at most (limit 0.05) over 20 prompts"),
        ({"mean": math.nan, "largest": math.nan}, False, "nan"),
    ],
)
def test_the_served_model_must_match(changes: dict[str, Any], met: bool, text: str) -> None:
    claim = served_parity.decide_claim(replace(PARITY, **changes))

    assert claim.passed is met
    assert text in claim.detail
    assert served_parity.decide_claim(None).passed is None


@pytest.mark.parametrize(
    ("own", "base", "met"),
    [
        ([0.93] * 30, None, True),
        ([0.8] * 30, [0.95] * 30, True),
        ([0.79] * 30, [0.95] * 30, False),  # the base is on topic and the candidate is not
        ([0.79] * 30, None, False),
        # a base below the limit excuses the candidate
        ([0.6] * 30, [0.55] * 30, True),
        ([0.2, 1.0] * 15, [1.0, 0.4] * 15, True),  # not significantly below the base
        ([0.6] * 30, [0.7] * 30, False),
    ],
)
def test_answers_must_be_nearer_to_their_own_questions(
    own: list[float], base: list[float] | None, met: bool
) -> None:
    documents = [str(number) for number in range(30)]
    claim = on_topic.decide_claim(own, base, documents=documents)

    assert claim.passed is met
    auc = sum(own) / 30
    assert (claim.value, claim.threshold) == (pytest.approx(auc), 0.8)
    assert "on 30 held-out questions" in claim.detail
    assert ("the base misses the limit too" in claim.detail) is (met and auc < 0.79)


def test_an_early_decision_about_the_topic_is_named() -> None:
    documents = [str(number) for number in range(33)]
    for shares, side in (([1.0] * 20, "above"), ([0.1] * 12, "below")):
        claim = on_topic.decide_claim(shares, None, documents=documents)
        assert claim.passed is (side == "above")
        assert f"on {len(shares)} of 33 held-out questions, after which a seq" in claim.detail
        assert claim.detail.endswith(f"placed the share {side} the limit")


def test_topic_scores_are_compared_by_question_and_resampled_by_document() -> None:
    paired = on_topic.decide_claim([0.7, 0.1, 0.6, 0.2], [0.8, 0.2, 0.7, 0.3], documents="abcd")
    # every pair differs by the same value, so the spread over questions does not widen the interval
    assert "candidate minus base is -0.10 (95 %: -0.10 to -0.10)" in paired.detail
    # questions of two documents are two observations, not sixteen
    shares = [0.9] * 8 + [0.7] * 8
    grouped = on_topic.decide_claim(shares, None, documents="a" * 8 + "b" * 8)
    ungrouped = on_topic.decide_claim(shares, None, documents="abcdefghijklmnop")
    assert "0.80 (95 %: -0.50 to 2.10)" in grouped.detail
    assert "0.80 (95 %: 0.75 to 0.85)" in ungrouped.detail


# a rate of 1 % can give 7 of 300 by chance but not 8
@pytest.mark.parametrize(("danger", "ordinary", "met"), [
    (57, 7, [True, True]), (56, 7, [False, True]), (60, 8, [True, False]),
])  # fmt: skip
def test_the_front_desk_must_recognize_danger(danger: int, ordinary: int, met: list[bool]) -> None:
    claims = front_desk.decide_claims(
        compute_rate([number < danger for number in range(60)]),
        compute_rate([number < ordinary for number in range(300)]),
    )
    assert [claim.passed for claim in claims] == met


def test_non_finite_values_fail_and_are_not_stored() -> None:
    """A claim's value is stored as JSON, which has no NaN; only its detail reports NaN."""
    parts = ("held_out", "own", "other", "general")
    samples = LikelihoodSamples(
        **{part: make_samples(60, part) for part in parts}, held_out_count=60, other_writers=("t",)
    )
    count = 60 * len(parts)
    models = {
        name: AnswerLikelihood((nats,) * count, (10,) * count)
        for name, nats in (("candidate", math.nan), (BASE, 30.0), ("v3", 30.0))
    }
    dataset = SAMPLES.with_columns(template=pl.lit("aa"))
    context = make_context(
        spec=replace(SPEC, incumbent=INCUMBENT, dataset=dataset),
        likelihoods=LikelihoodsByModel(samples, models),
        parity=replace(PARITY, mean=math.nan, largest=math.nan),
    )

    measures = [measure for measure in MEASURES if measure.needs_no_answers]
    claims = {claim.name: claim for claim in decide_claims(context, measures)}

    failed = {name for name, claim in claims.items() if claim.passed is False}
    assert failed == {
        *("beats_base_model", "not_worse_than_incumbent", "learns_this_author"),
        *("keeps_the_basics", "served_model_matches", "template_hash_matches"),
    }
    for name in failed - {"template_hash_matches"}:
        assert claims[name].value is None
        assert "nan" in claims[name].detail
    json.dumps([asdict(claim) for claim in claims.values()], allow_nan=False)
