"""Test when a run of `learn_routing` has something to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from twin_resources.router.learning_decision import (
    PAYBACK_DAYS,
    ComparedModels,
    LearningState,
    Payback,
    decide_learning,
)

CURRENT = ComparedModels("checkpoint-2", "openai/gpt-4o-mini", "e1")
STATE = LearningState(
    current_models=CURRENT, policy_models=None, label_count=100, max_labels=1_500, usd_left=1.0,
    payback=Payback(1_400, 0.25, 6_000, 0.0001),
    changed_at=200.0, last_run_at=100.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed_fields", "should_run", "reason"),
    [
        ({}, True, "1,400 labels are missing"),
        ({"last_run_at": None, "policy_models": CURRENT}, True, "1,400 labels are missing"),
        ({"current_models": None}, False, "no stable version"),
        ({"label_count": 1_500}, False, "1,500 labels, which is the maximum"),
        ({"usd_left": 0.00009}, False, "budget for labels is used up"),
        ({"last_run_at": 200.0}, False, "no question has arrived"),
        ({"last_run_at": 200.0, "label_count": 0}, True, "1,500 labels are missing"),
        ({"policy_models": replace(CURRENT, own="checkpoint-1")}, True, "another version"),
        ({"policy_models": replace(CURRENT, paid="gpt-4o")}, True, "another paid model"),
        ({"payback": Payback(1_400, 0.25, 5_599, 0.0001)}, False, "below 187 questions a day"),
        (
            {
                "payback": Payback(1_400, 0.0, 9_000, 0.0001),
                "policy_models": replace(CURRENT, own="c1"),
            },
            False,
            "never pays",
        ),
        # every missing label already has its paid answer
        ({"payback": Payback(0, 0.25, 1, 0.0001), "usd_left": 0.0}, True, "1,400 labels"),
        # the existing labels can be fitted without money
        (
            {"policy_models": replace(CURRENT, embedder="e0"), "usd_left": 0.0},
            True,
            "another embedder",
        ),
    ],
)
def test_a_run_starts_only_if_it_has_something_to_do(
    changed_fields: dict[str, Any], should_run: bool, reason: str
) -> None:
    decision = decide_learning(replace(STATE, **changed_fields))
    assert decision.should_run is should_run
    assert reason in decision.reason


def test_the_break_even_point_does_not_depend_on_the_price() -> None:
    expensive, cheap = Payback(1_500, 0.25, 9_000, 0.01), Payback(1_500, 0.25, 9_000, 0.0001)
    assert expensive.break_even_questions == cheap.break_even_questions == 6_000
    assert expensive.min_questions_per_day == 6_000 / PAYBACK_DAYS
    value, low, high = expensive.saved_usd()
    assert value == pytest.approx(9_000 * 0.25 * 0.01)
    assert (value - low) / value == pytest.approx((high - value) / value, abs=1e-9)
    assert 0.01 < (value - low) / value < 0.03
    assert "pays after 6,000 questions; the current rate is 300 a day" in expensive.summary
    assert replace(expensive, missing_label_count=0, question_count=0).is_worthwhile, (
        "the answers of an earlier version are kept"
    )
