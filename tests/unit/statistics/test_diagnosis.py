"""Causes that no training can mend."""

from __future__ import annotations

from dataclasses import replace

from twin_resources.statistics.diagnosis import (
    Conditions,
    cause_outside_the_weights,
)

BEFORE = Conditions(0.8, 0.02, 3.0, "t1", "s1")


def test_causes_outside_the_weights_are_named() -> None:
    assert cause_outside_the_weights(BEFORE, BEFORE) is None
    said = cause_outside_the_weights(BEFORE, replace(BEFORE, template="t2"))
    assert said == "the prompt template changed from t1 to t2"
    said = cause_outside_the_weights(BEFORE, replace(BEFORE, server="s2"))
    assert said == "the model server changed from s1 to s2"
    assert cause_outside_the_weights(replace(BEFORE, server=""), BEFORE) is None  # not told then
    said = cause_outside_the_weights(BEFORE, replace(BEFORE, retrieval_hit_rate=0.4))
    assert said == "the retrieval hit rate went from 80% to 40%"
    said = cause_outside_the_weights(BEFORE, replace(BEFORE, degraded_share=0.3))
    assert said == "the share of degraded answers went from 2% to 30%"
    better = replace(BEFORE, retrieval_hit_rate=0.99, degraded_share=0.0)
    assert cause_outside_the_weights(BEFORE, better) is None
    assert cause_outside_the_weights(BEFORE, replace(BEFORE, retrieval_hit_rate=None)) is None
    said = cause_outside_the_weights(BEFORE, replace(BEFORE, latency_s=9.0))
    assert said == "the median answer took 9.0 s instead of 3.0"
    assert cause_outside_the_weights(BEFORE, replace(BEFORE, latency_s=4.9)) is None
