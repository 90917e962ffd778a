"""Test the choice of a model, its explanation, the pace of spending and the policy file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.gateway.routing.labeled_questions import (
    PAID,
    features,
    fitted_policy,
    sample_questions,
)
from twin_resources.erasure.decoding import find_in_file
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.errors import TwinError
from twin_resources.router.class_table import class_table
from twin_resources.router.pacing import SpendingPace
from twin_resources.router.policy_file import (
    RoutingPolicy,
    policy_path,
    read_routing_policy,
    write_routing_policy,
)
from twin_resources.router.routing_decision import choose_model, question_features


@pytest.fixture(scope="module")
def policy() -> RoutingPolicy:
    return fitted_policy(sample_questions(400, seed=0))


def _topic_features(policy: RoutingPolicy, topic: int):
    return question_features(policy, np.eye(8)[topic], length=80, closeness=0.5)


def test_only_the_hard_topic_is_sent_to_the_paid_model(policy: RoutingPolicy) -> None:
    hard = choose_model(policy, _topic_features(policy, 0))
    easy = choose_model(policy, _topic_features(policy, 1))
    assert (hard.model_index, easy.model_index) == (1, 0)
    assert hard.gain > hard.threshold > easy.gain
    assert hard.is_margin_held
    assert "paid" in hard.reason


def test_a_class_with_few_labels_is_shrunk_towards_the_others() -> None:
    rng = np.random.default_rng(0)
    gains = [*rng.normal(0.4, 0.2, 200), *rng.normal(0.0, 0.2, 200), 1.0, 1.0]
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


def _create_pace(policy: RoutingPolicy, *, interval_s: float, count: int = 200) -> SpendingPace:
    pace, questions = SpendingPace(), sample_questions(count, seed=11)
    predicted = policy.gain.predict(features(questions))
    for number in range(count):
        pace.record_question(number * interval_s, predicted[number], np.array([0.0, PAID.usd]))
    return pace


def choose_step(
    pace: SpendingPace, policy: RoutingPolicy, now: float, remaining_usd: float, seconds_left: float
) -> int:
    return pace.choose_step(
        now,
        policy.steps,
        policy.prices,
        certified_index=policy.active_step_index,
        remaining_usd=remaining_usd,
        seconds_left=seconds_left,
    )


def test_with_enough_budget_the_certified_step_is_used(policy: RoutingPolicy) -> None:
    pace = _create_pace(policy, interval_s=10.0)
    step = choose_step(pace, policy, 2000.0, 10.0, 3600.0)
    assert step == policy.active_step_index == pace.step_index


def test_with_too_little_budget_a_cheaper_step_is_used_without_the_margin(
    policy: RoutingPolicy,
) -> None:
    pace = _create_pace(policy, interval_s=1.0)
    kept = policy.step.kept
    # A quarter of the amount that the certified step would spend on 3,600 questions.
    step = choose_step(pace, policy, 200.0, 0.25 * kept * 3600 * PAID.usd, 3600.0)
    assert policy.steps[step].kept == pytest.approx(0.25 * kept, abs=0.05)
    routed = choose_model(policy, _topic_features(policy, 1), step_index=step)
    assert not routed.is_margin_held
    assert "margin not held" in routed.reason
    assert choose_step(pace, policy, 260.0, 0.0, 100.0) == (len(policy.steps) - 1)


def test_the_pace_is_updated_once_a_minute(policy: RoutingPolicy) -> None:
    pace = SpendingPace()
    assert pace.is_due(0.0)
    choose_step(pace, policy, 0.0, 1.0, 1.0)
    assert not pace.is_due(59.0)
    assert pace.is_due(60.0)


def test_a_written_policy_is_read_back(policy: RoutingPolicy, tmp_path: Path) -> None:
    path = policy_path(tmp_path, "mara")
    write_routing_policy(path, policy)
    reread = read_routing_policy(path)
    row = _topic_features(policy, 0)
    assert choose_model(reread, row) == choose_model(policy, row)
    assert (reread.steps, reread.classes, reread.models) == (
        policy.steps,
        policy.classes,
        policy.models,
    )
    assert reread.avoided_usd.tolist() == policy.avoided_usd.tolist() != []
    assert (reread.margin, reread.label_ids, reread.written_at) == (
        policy.margin,
        policy.label_ids,
        policy.written_at,
    )
    assert policy.label_ids[7].encode() in path.read_bytes()  # so that erasure finds it
    assert list(path.parent.iterdir()) == [path]


def test_a_file_with_unknown_fields_is_read(policy: RoutingPolicy, tmp_path: Path) -> None:
    path = policy_path(tmp_path, "mara")
    write_routing_policy(path, policy)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    head = json.loads(bytes(arrays["head"]))
    head |= {"cascade": head["steps"][0], "explored": 0.02}
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
    reread = read_routing_policy(path)
    assert reread.steps == policy.steps


def test_erasure_finds_a_trace_id_in_the_file(policy: RoutingPolicy, tmp_path: Path) -> None:
    path = policy_path(tmp_path, "mara")
    write_routing_policy(path, policy)

    def target_for(trace: str) -> ErasureTarget:
        ids = frozenset({trace})
        return ErasureTarget(ErasureSubject("reader", "", "0123456789abcdef"), ids=ids, traces=ids)

    assert find_in_file(path, target_for(policy.label_ids[200]))
    assert not find_in_file(path, target_for("f" * 32))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.999])
def test_a_truncated_file_is_refused(policy: RoutingPolicy, tmp_path: Path, share: float) -> None:
    path = policy_path(tmp_path, "mara")
    write_routing_policy(path, policy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(TwinError, match="materialize `routing_policy`"):
        read_routing_policy(path)
