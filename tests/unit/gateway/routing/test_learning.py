"""Whether a run of `learn_routing` would find something to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from twin_resources.router.learning_decision import LabelsOf, LearningState, decide_learning

NOW = LabelsOf("checkpoint-2", "openai/gpt-4o-mini", "e1")
STATE = LearningState(
    now_of=NOW, policy_of=None, labels=100, wanted=1_500, usd_left=1.0, label_usd=0.0001,
    changed_at=200.0, learned_at=100.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "learn", "said"),
    [
        ({}, True, "1,400 labels are missing"),
        ({"learned_at": None, "policy_of": NOW}, True, "1,400 labels are missing"),
        ({"now_of": None}, False, "no stable version"),
        ({"labels": 1_500}, False, "1,500 labels, as many as are wanted"),
        ({"usd_left": 0.00009}, False, "money for labels is used up"),
        ({"learned_at": 200.0}, False, "no question has come"),
        ({"learned_at": 200.0, "labels": 0}, True, "1,500 labels are missing"),
        ({"policy_of": replace(NOW, own="checkpoint-1")}, True, "another version"),
        ({"policy_of": replace(NOW, paid="gpt-4o")}, True, "another paid model"),
        # what there is can be fitted without money
        ({"policy_of": replace(NOW, embedder="e0"), "usd_left": 0.0}, True, "another embedder"),
    ],
)
def test_a_run_starts_when_it_would_find_something(
    changed: dict[str, Any], learn: bool, said: str
) -> None:
    decision = decide_learning(replace(STATE, **changed))
    assert decision.learn is learn
    assert said in decision.said
