"""What an alarm is about."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.statistics.settled_values import stream_of, thumbs
from twin_resources.statistics.diagnosis import (
    Conditions,
    cause_outside_the_weights,
    fallen_classes,
    since_the_drop,
)

BOUNDS = {"fact": 0.8, "how_to": 0.6}
BEFORE = Conditions(
    retrieval_hit_rate=0.8, degraded_share=0.02, template="t1", base="b1", server="s1"
)


def test_the_drop_begins_where_it_began() -> None:
    classes = ["fact", "how_to"] * 150
    values = [*thumbs(260, 0.9, seed=1), *[0.0, 1.0] * 20]  # facts fall, how-tos do not
    found = since_the_drop(stream_of(values, classes=classes), BOUNDS)
    assert 255 <= found[0].sequence <= 262
    falls = fallen_classes(found, BOUNDS)
    assert falls[0].prompt_class == "fact"
    assert falls[0].mean < 0.1
    assert "how_to" not in {fall.prompt_class for fall in falls}


def test_a_fall_of_one_class_is_that_classs_own() -> None:
    """Three of four classes do not fall: their values, and who gave them, are no part of it."""
    bounds = dict.fromkeys("abcd", 0.7)
    values = thumbs(800, 0.8, seed=2)
    values[400:] = [0.0 if n % 4 == 0 and n % 8 else v for n, v in enumerate(values[400:], 400)]
    found = since_the_drop(stream_of(values, classes=list("abcd") * 200), bounds)
    assert {value.prompt_class for value in found} == {"a"}
    assert 390 <= found[0].sequence <= 420
    everywhere = [*thumbs(400, 0.8, seed=2), *thumbs(400, 0.5, seed=3)]
    fell = since_the_drop(stream_of(everywhere, classes=list("abcd") * 200), bounds)
    assert {value.prompt_class for value in fell} == set("abcd")


def test_classes_without_a_baseline_are_left_out() -> None:
    values = stream_of([0.0, 0.0, 0.0], classes=["fact", "other", "fact"])
    assert [value.sequence for value in since_the_drop(values, BOUNDS)] == [1, 3]
    assert since_the_drop([], BOUNDS) == ()
    assert [fall.values for fall in fallen_classes(values, BOUNDS)] == [2]


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
