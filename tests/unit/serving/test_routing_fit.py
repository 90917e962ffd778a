"""Test when a routing policy is adopted, kept and withdrawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.unit.gateway.routing.labeled_questions import (
    MARGIN,
    OWN,
    PAID,
    SampledQuestions,
    sample_questions,
)
from twin_assets.serving.routing_fit import FitOutcome, ModelPrices, price_models, refit
from twin_assets.serving.routing_report import AuthorRouting, routing_metadata
from twin_resources.quality.judges import label_rows
from twin_resources.quality.judges.label_rows import (
    MODEL_COLUMNS,
    LabelArrays,
    LabelPurchase,
    build_label_arrays,
)
from twin_resources.quality.judges.pairs import probe_rows, score_differences
from twin_resources.quality.ledger.routed_answers import estimate_savings_usd
from twin_resources.router.policy_file import RoutingPolicy


def make_labels(questions: SampledQuestions, *, first_sequence: int = 1) -> LabelArrays:
    count = len(questions.gains)
    prompt_ids = tuple(f"{first_sequence + number:032x}" for number in range(count))
    return LabelArrays(
        prompt_ids=prompt_ids,
        sequences=tuple(range(first_sequence, first_sequence + count)),
        groups=prompt_ids,
        prompt_classes=tuple("hard" if gain else "easy" for gain in questions.true_gains),
        vectors=questions.vectors,
        lengths=questions.lengths,
        closeness=questions.closeness,
        gains=questions.gains,
        usd=np.full(count, PAID.usd),
        prompt_tokens=np.full(count, 400.0),
        answer_tokens=np.full(count, 100.0),
    )


def join_labels(first: LabelArrays, second: LabelArrays) -> LabelArrays:
    values: dict[str, Any] = {
        name: np.concatenate([left, right]) if isinstance(left, np.ndarray) else (*left, *right)
        for name, left in vars(first).items()
        for right in [getattr(second, name)]
    }
    return LabelArrays(**values)


def fit(labels: LabelArrays, current: RoutingPolicy | None = None, **change: object) -> FitOutcome:
    options: dict[str, object] = {
        "models": (OWN, PAID),
        "embedder": "made",
        "judges": ("topic@1",),
        "margin": MARGIN,
    }
    return refit("mara", labels, current, **(options | change))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def labels() -> LabelArrays:
    return make_labels(sample_questions(350, seed=0))


@pytest.fixture(scope="module")
def policy(labels: LabelArrays) -> RoutingPolicy:
    policy = fit(labels).policy
    assert policy is not None
    return policy


def test_few_labels_give_no_policy() -> None:
    for count in (0, 20, 60):
        outcome = fit(make_labels(sample_questions(count, seed=0)))
        assert outcome.policy is None
        assert outcome.decision.missing_labels > 50
        assert f"{count} labels" in outcome.decision.reason


def test_enough_labels_give_a_policy(labels: LabelArrays, policy: RoutingPolicy) -> None:
    assert policy.step.certified
    assert 0.3 < 1 - policy.step.kept < 0.6
    assert (policy.last_sequence, policy.label_ids) == (350, labels.prompt_ids)
    assert {row.prompt_class for row in policy.classes} == {"easy", "hard"}


def test_unchanged_labels_keep_the_policy(labels: LabelArrays, policy: RoutingPolicy) -> None:
    outcome = fit(labels, policy)
    assert outcome.policy is not None
    assert outcome.policy.written_at == policy.written_at
    assert outcome.policy is policy


def test_many_new_labels_replace_the_policy(labels: LabelArrays, policy: RoutingPolicy) -> None:
    outcome_of_few = fit(
        join_labels(labels, make_labels(sample_questions(40, seed=1), first_sequence=351)), policy
    )
    assert outcome_of_few.policy is policy
    assert "policy in force" in outcome_of_few.decision.reason
    clear_labels = make_labels(sample_questions(600, seed=2, noise=0.05), first_sequence=351)
    outcome_of_many = fit(join_labels(labels, clear_labels), policy)
    assert outcome_of_many.policy is not None
    assert outcome_of_many.policy.last_sequence == 950, outcome_of_many.decision.reason


def test_a_policy_refuted_by_later_labels_is_withdrawn(
    labels: LabelArrays, policy: RoutingPolicy
) -> None:
    # questions that were easy are now hard
    questions = sample_questions(300, seed=3)
    refuting_labels = make_labels(
        replace(questions, gains=np.full_like(questions.gains, 0.5)), first_sequence=351
    )
    outcome = fit(join_labels(labels, refuting_labels), policy)
    assert "loses more than the margin" in outcome.withdrawal_reason
    assert outcome.policy is None or outcome.policy.last_sequence == 650


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"models": (replace(OWN, model="newer"), PAID)}, "another version"),
        ({"models": (OWN, replace(PAID, model="dearer"))}, "the paid model was"),
        ({"embedder": "other"}, "another embedder"),
        ({"judges": ("topic@2",)}, "other judges"),
        ({"margin": 0.05}, "margin was 0.03"),
    ],
    ids=["version", "paid", "embedder", "judges", "margin"],
)
def test_a_policy_with_other_inputs_is_withdrawn(
    policy: RoutingPolicy, change: dict[str, object], reason: str
) -> None:
    outcome = fit(make_labels(sample_questions(10, seed=5)), policy, **change)
    assert outcome.policy is None
    assert reason in outcome.withdrawal_reason


def test_prices_are_means_over_the_labels(labels: LabelArrays) -> None:
    own, paid = price_models(labels, "c", "p", ModelPrices(0.2, 2.0, 8.0))
    assert own.usd == pytest.approx(0.2 * 500 / 1e6)
    assert paid.usd == pytest.approx(PAID.usd)


def test_probes_are_not_labels() -> None:
    purchase = LabelPurchase("c", "p", "e", ("topic@1", "voice@1"), "x")
    scores = [
        {"claim": "topic", "own": 0.5, "paid": 0.9},
        {"claim": "voice", "own": 0.8, "paid": 0.6},
    ]
    shared_fields = {
        "prompt_class": "fact", "length": 30, "closeness": 0.4, "vector": [0.6, 0.8],
        "prompt_tokens": 10, "answer_tokens": 5, "usd": 0.001,
    }  # fmt: skip
    rows = pl.DataFrame(
        [
            purchase.build_row(2, "recorded", "t2")
            | {"reader": "r", "scores": scores}
            | shared_fields,
            purchase.build_row(1, "held_out", "s1")
            | {"reader": "", "scores": scores}
            | shared_fields,
            purchase.build_row(3, "recorded", "t3")
            | {"reader": "r", "scores": scores[:1]}
            | shared_fields,
            purchase.build_row(4, "plant", "s1", "off_topic")
            | {"reader": "", "scores": scores}
            | shared_fields,
        ],
        schema=dict(label_rows.COLUMNS),
    )
    labels = build_label_arrays(rows, purchase.id, ("topic", "voice"))
    assert labels.prompt_ids == ("s1", "t2")
    assert labels.groups == ("s1", "r")
    assert labels.gains == pytest.approx(np.array([[0.1], [0.1]]))
    assert labels.vectors.shape == (2, 2)
    [probe] = probe_rows(rows, purchase=purchase.id).to_dicts()
    assert score_differences(probe, ["topic"], MODEL_COLUMNS) == pytest.approx({"topic": 0.4})
    assert len(build_label_arrays(rows, "another", ("topic",))) == 0
    assert len(build_label_arrays(rows, purchase.id, ())) == 0


def test_the_metadata_reports_the_policy(policy: RoutingPolicy) -> None:
    values = routing_metadata(AuthorRouting("certified", policy, 350))
    assert values["routed"] is True
    assert values["margin"] == policy.margin
    assert routing_metadata(None) == {}
    metadata = routing_metadata(AuthorRouting("60 labels", missing_label_count=120))
    assert (metadata["routed"], metadata["labels_missing"]) == (False, 120)


def test_the_savings_have_an_interval() -> None:
    usd, low, high = estimate_savings_usd(100, [0.001, 0.002, 0.003])
    assert usd == pytest.approx(0.2)
    assert 0.0 <= low < usd < high
    assert estimate_savings_usd(0, [0.001]) == estimate_savings_usd(5, []) == (0.0, 0.0, 0.0)
