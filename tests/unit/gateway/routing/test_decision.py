"""One question's model, what explains it, the lot, the pace of the money, the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.gateway.routing.labelled import PAID, drawn, features, fitted_policy
from twin_resources.erasure.decoding import find_in_file
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.errors import TwinError
from twin_resources.router.class_table import class_table
from twin_resources.router.nearest_labels import gain_interval, nearest_labels
from twin_resources.router.pacing import RemainingBudget, SpendingPace
from twin_resources.router.policy_file import (
    RoutingPolicy,
    policy_path,
    read_routing_policy,
    write_routing_policy,
)
from twin_resources.router.routing_decision import choose_model, question_features


@pytest.fixture(scope="module")
def policy() -> RoutingPolicy:
    return fitted_policy(drawn(400, seed=0))


def _row(policy: RoutingPolicy, topic: int):
    return question_features(policy, np.eye(8)[topic], length=80, closeness=0.5)


def test_the_hard_topic_is_paid_for_and_the_easy_one_is_not(policy: RoutingPolicy) -> None:
    hard = choose_model(policy, _row(policy, 0))
    easy = choose_model(policy, _row(policy, 1))
    assert (hard.model, easy.model) == (1, 0)
    assert hard.gain > hard.threshold > easy.gain
    assert hard.margin_held
    assert "paid" in hard.reason


def test_the_nearest_labels_and_the_interval_explain_it(policy: RoutingPolicy) -> None:
    near = nearest_labels(
        np.eye(8)[0], policy.vectors, label_ids=policy.label_ids, gains=policy.gains[:, 0]
    )
    assert len(near) == 3
    assert near[0].cosine >= near[1].cosine >= near[2].cosine > 0.8
    assert all(one.gain > 0 for one in near)
    low, high = gain_interval(0.6, policy.cross_fitted[:, 0], policy.gains[:, 0])
    assert low < 0.6 < high
    assert high - low < 0.2
    assert gain_interval(0.0, np.zeros(0), np.zeros(0)) == (-1.0, 1.0)


def test_a_class_with_few_labels_is_shrunk_to_the_others() -> None:
    random = np.random.default_rng(0)
    gains = [*random.normal(0.4, 0.2, 200), *random.normal(0.0, 0.2, 200), 1.0, 1.0]
    table = {
        row.prompt_class: row
        for row in class_table(["why"] * 200 + ["how_to"] * 200 + ["fact"] * 2, gains)
    }
    assert table["why"].gain == pytest.approx(0.4, abs=0.05)
    assert table["how_to"].low < 0.0 < table["how_to"].high
    assert table["fact"].gain < 0.95
    assert table["fact"].high - table["fact"].low > table["why"].high - table["why"].low
    assert class_table([], []) == ()
    assert class_table(["one"], [0.5])[0].labels == 1


def _pace(policy: RoutingPolicy, *, every: float, count: int = 200) -> SpendingPace:
    pace, found = SpendingPace(), drawn(count, seed=11)
    predicted = policy.gain.predict(features(found))
    for number in range(count):
        pace.record_question(number * every, predicted[number], np.array([0.0, PAID.usd]))
    return pace


def test_with_enough_money_the_certified_step_holds(policy: RoutingPolicy) -> None:
    pace = _pace(policy, every=10.0)
    step = pace.choose_step(
        2000.0,
        RemainingBudget(10.0, 3600.0),
        policy.steps,
        policy.prices,
        certified=policy.active_step_index,
    )
    assert step == policy.active_step_index == pace.step


def test_with_too_little_money_a_cheaper_step_does_and_the_margin_is_not_held(
    policy: RoutingPolicy,
) -> None:
    pace = _pace(policy, every=1.0)
    kept = policy.step.kept
    # a quarter of what the certified step would spend on 3,600 questions
    money = RemainingBudget(0.25 * kept * 3600 * PAID.usd, 3600.0)
    step = pace.choose_step(
        200.0, money, policy.steps, policy.prices, certified=policy.active_step_index
    )
    assert policy.steps[step].kept == pytest.approx(0.25 * kept, abs=0.05)
    routed = choose_model(policy, _row(policy, 1), step=step)
    assert not routed.margin_held
    assert "margin not held" in routed.reason
    assert pace.choose_step(
        260.0,
        RemainingBudget(0.0, 100.0),
        policy.steps,
        policy.prices,
        certified=policy.active_step_index,
    ) == (len(policy.steps) - 1)


def test_four_processes_share_the_money(policy: RoutingPolicy) -> None:
    money = RemainingBudget(policy.step.kept * 3600 * PAID.usd, 3600.0)
    alone, of_four = (
        _pace(policy, every=1.0).choose_step(
            200.0,
            money,
            policy.steps,
            policy.prices,
            certified=policy.active_step_index,
            processes=processes,
        )
        for processes in (1.0, 4.0)
    )
    assert policy.steps[of_four].kept < 0.5 * policy.steps[alone].kept


def test_the_pace_is_looked_at_once_a_minute(policy: RoutingPolicy) -> None:
    pace = SpendingPace()
    assert pace.is_due(0.0)
    pace.choose_step(
        0.0,
        RemainingBudget(1.0, 1.0),
        policy.steps,
        policy.prices,
        certified=policy.active_step_index,
    )
    assert not pace.is_due(59.0)
    assert pace.is_due(60.0)


def test_a_written_policy_is_read_back(policy: RoutingPolicy, tmp_path: Path) -> None:
    path = policy_path(tmp_path, "mara")
    write_routing_policy(path, policy)
    again = read_routing_policy(path)
    row = _row(policy, 0)
    assert choose_model(again, row) == choose_model(policy, row)
    assert (again.steps, again.classes, again.models) == (
        policy.steps,
        policy.classes,
        policy.models,
    )
    assert again.avoided_usd.tolist() == policy.avoided_usd.tolist() != []
    assert (again.margin, again.label_ids, again.written_at) == (
        policy.margin,
        policy.label_ids,
        policy.written_at,
    )
    assert policy.label_ids[7].encode() in path.read_bytes()  # forgetting finds it
    assert list(path.parent.iterdir()) == [path]


def test_a_file_of_a_release_with_more_in_it_is_read(policy: RoutingPolicy, tmp_path: Path) -> None:
    path = policy_path(tmp_path, "mara")
    write_routing_policy(path, policy)
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    head = json.loads(bytes(arrays["head"]))
    head |= {"cascade": head["steps"][0], "explored": 0.02}
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
    again = read_routing_policy(path)
    assert again.steps == policy.steps


def test_forgetting_finds_a_readers_trace_in_the_file(
    policy: RoutingPolicy, tmp_path: Path
) -> None:
    path = policy_path(tmp_path, "mara")
    write_routing_policy(path, policy)

    def of(trace: str) -> ErasureTarget:
        ids = frozenset({trace})
        return ErasureTarget(ErasureSubject("reader", "", "0123456789abcdef"), ids=ids, traces=ids)

    assert find_in_file(path, of(policy.label_ids[200])) is not None
    assert find_in_file(path, of("f" * 32)) is None


@pytest.mark.parametrize("left", [0.0, 0.3, 0.5, 0.999])
def test_a_policy_cut_in_half_is_said(policy: RoutingPolicy, tmp_path: Path, left: float) -> None:
    path = policy_path(tmp_path, "mara")
    write_routing_policy(path, policy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(TwinError, match="materialize `routing_policy`"):
        read_routing_policy(path)
