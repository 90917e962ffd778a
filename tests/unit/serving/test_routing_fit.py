"""Test adopting, keeping and withdrawing a routing policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.unit.gateway.routing.labelled import (
    MARGIN,
    OWN,
    PAID,
    SampledQuestions,
    sample_questions,
)
from twin_assets.serving.routing_fit import FitOutcome, ModelPrices, price_models, refit
from twin_assets.serving.routing_report import RoutedAuthor, metadata
from twin_resources.quality.judges import label_rows
from twin_resources.quality.judges.label_rows import (
    MODEL_COLUMNS,
    LabelArrays,
    LabelPurchase,
    build_label_arrays,
)
from twin_resources.quality.judges.pairs import probe_rows, score_differences
from twin_resources.quality.ledger.routed import saved_usd
from twin_resources.router.policy_file import RoutingPolicy


def make_labels(found: SampledQuestions, *, first: int = 1) -> LabelArrays:
    count = len(found.gains)
    names = tuple(f"{first + number:032x}" for number in range(count))
    return LabelArrays(
        prompt_ids=names,
        sequences=tuple(range(first, first + count)),
        groups=names,
        classes=tuple("hard" if gain else "easy" for gain in found.true_gains),
        vectors=found.vectors,
        lengths=found.lengths,
        closeness=found.closeness,
        gains=found.gains,
        usd=np.full(count, PAID.usd),
        prompt_tokens=np.full(count, 400.0),
        answer_tokens=np.full(count, 100.0),
    )


def join(first: LabelArrays, then: LabelArrays) -> LabelArrays:
    values: dict[str, Any] = {
        name: np.concatenate([one, other]) if isinstance(one, np.ndarray) else (*one, *other)
        for name, one in vars(first).items()
        for other in [getattr(then, name)]
    }
    return LabelArrays(**values)


def fit(labels: LabelArrays, standing: RoutingPolicy | None = None, **change: object) -> FitOutcome:
    given: dict[str, object] = {
        "models": (OWN, PAID),
        "embedder": "made",
        "judges": ("topic@1",),
        "margin": MARGIN,
    }
    return refit("mara", labels, standing, **(given | change))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def first() -> LabelArrays:
    return make_labels(sample_questions(350, seed=0))


@pytest.fixture(scope="module")
def in_force(first: LabelArrays) -> RoutingPolicy:
    policy = fit(first).policy
    assert policy is not None
    return policy


def test_few_labels_give_no_policy() -> None:
    for count in (0, 20, 60):
        outcome = fit(make_labels(sample_questions(count, seed=0)))
        assert outcome.policy is None
        assert outcome.decision.missing_labels > 50
        assert f"{count} labels" in outcome.decision.reason


def test_enough_labels_give_a_policy(first: LabelArrays, in_force: RoutingPolicy) -> None:
    assert in_force.step.certified
    assert 0.3 < 1 - in_force.step.kept < 0.6
    assert (in_force.last_sequence, in_force.label_ids) == (350, first.prompt_ids)
    assert {row.prompt_class for row in in_force.classes} == {"easy", "hard"}


def test_unchanged_labels_keep_the_policy(first: LabelArrays, in_force: RoutingPolicy) -> None:
    again = fit(first, in_force)
    assert again.policy is not None
    assert again.policy.written_at == in_force.written_at
    assert again.policy is in_force


def test_many_new_labels_replace_the_policy(first: LabelArrays, in_force: RoutingPolicy) -> None:
    few = fit(join(first, make_labels(sample_questions(40, seed=1), first=351)), in_force)
    assert few.policy is in_force
    assert "policy in force" in few.decision.reason
    sure = make_labels(sample_questions(600, seed=2, noise=0.05), first=351)
    many = fit(join(first, sure), in_force)
    assert many.policy is not None
    assert many.policy.last_sequence == 950, many.decision.reason


def test_a_policy_refuted_by_later_labels_is_withdrawn(
    first: LabelArrays, in_force: RoutingPolicy
) -> None:
    # what was easy has become hard
    turned = sample_questions(300, seed=3)
    bad = make_labels(replace(turned, gains=np.full_like(turned.gains, 0.5)), first=351)
    outcome = fit(join(first, bad), in_force)
    assert "loses more than the margin" in outcome.withdrawal_reason
    assert outcome.policy is None or outcome.policy.last_sequence == 650


@pytest.mark.parametrize(
    ("change", "why"),
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
    in_force: RoutingPolicy, change: dict[str, object], why: str
) -> None:
    outcome = fit(make_labels(sample_questions(10, seed=5)), in_force, **change)
    assert outcome.policy is None
    assert why in outcome.withdrawal_reason


def test_prices_are_means_over_the_labels(first: LabelArrays) -> None:
    own, paid = price_models(first, "c", "p", ModelPrices(0.2, 2.0, 8.0))
    assert own.usd == pytest.approx(0.2 * 500 / 1e6)
    assert paid.usd == pytest.approx(PAID.usd)


def test_probes_are_not_labels() -> None:
    purchase = LabelPurchase("c", "p", "e", ("topic@1", "voice@1"), "x")
    scores = [
        {"claim": "topic", "own": 0.5, "paid": 0.9},
        {"claim": "voice", "own": 0.8, "paid": 0.6},
    ]
    rest = {
        "prompt_class": "fact", "length": 30, "closeness": 0.4, "vector": [0.6, 0.8],
        "prompt_tokens": 10, "answer_tokens": 5, "usd": 0.001,
    }  # fmt: skip
    rows = pl.DataFrame(
        [
            purchase.row(2, "recorded", "t2") | {"reader": "r", "scores": scores} | rest,
            purchase.row(1, "held_out", "s1") | {"reader": "", "scores": scores} | rest,
            purchase.row(3, "recorded", "t3") | {"reader": "r", "scores": scores[:1]} | rest,
            purchase.row(4, "plant", "s1", "off_topic") | {"reader": "", "scores": scores} | rest,
        ],
        schema=dict(label_rows.COLUMNS),
    )
    found = build_label_arrays(rows, purchase.id, ("topic", "voice"))
    assert found.prompt_ids == ("s1", "t2")
    assert found.groups == ("s1", "r")
    assert found.gains == pytest.approx(np.array([[0.1], [0.1]]))
    assert found.vectors.shape == (2, 2)
    [plant] = probe_rows(rows, purchase=purchase.id).to_dicts()
    assert score_differences(plant, ["topic"], MODEL_COLUMNS) == pytest.approx({"topic": 0.4})
    assert len(build_label_arrays(rows, "another", ("topic",))) == 0
    assert len(build_label_arrays(rows, purchase.id, ())) == 0


def test_the_metadata_for_dagster(in_force: RoutingPolicy) -> None:
    shown = metadata(RoutedAuthor("certified", in_force, 350))
    assert shown["routed"] is True
    assert shown["margin"] == in_force.margin
    assert metadata(None) == {}
    missing = metadata(RoutedAuthor("60 labels", missing_labels=120))
    assert (missing["routed"], missing["labels_missing"]) == (False, 120)


def test_the_savings_have_an_interval() -> None:
    usd, low, high = saved_usd(100, [0.001, 0.002, 0.003])
    assert usd == pytest.approx(0.2)
    assert 0.0 <= low < usd < high
    assert saved_usd(0, [0.001]) == saved_usd(5, []) == (0.0, 0.0, 0.0)
