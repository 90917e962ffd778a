"""Test that the base answers only prompts without stored scores."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.served.base_scores import BaseScores

PROMPTS = [[{"role": "user", "content": f"question {number}"}] for number in range(5)]


class EmptyTables:
    """Tables that store nothing."""

    def exists(self, *_: object) -> bool:
        return False


def measure_lengths(_positions: Sequence[int], answers: list[str]) -> list[float]:
    return [float(len(text)) for text in answers]


def request_scores(
    cache: MeasurementCache, *, base: str = "base 1", topic: str = "t1"
) -> BaseScores:
    base_scores = BaseScores(cache, [base, "engine", 40], PROMPTS)
    base_scores.request("topic", topic, range(3))
    base_scores.request("voice", "v1", range(3))
    base_scores.request("flags", "f1", [3, 4])
    return base_scores


@pytest.fixture
def cache() -> MeasurementCache:
    return MeasurementCache(EmptyTables(), "ada")  # pyright: ignore[reportArgumentType]


def test_stored_scores_are_not_requested_again(cache: MeasurementCache) -> None:
    base_scores = request_scores(cache)
    assert base_scores.find_missing() == [0, 1, 2, 3, 4]
    answers = {number: "x" * (number + 1) for number in range(5)}

    assert base_scores.get_or_compute("topic", answers, measure_lengths) == [1.0, 2.0, 3.0]
    assert request_scores(cache).find_missing() == [0, 1, 2, 3, 4], (
        "voice and flags have no stored scores yet"
    )
    base_scores.get_or_compute("voice", answers, measure_lengths)
    assert base_scores.get_or_compute("flags", answers, measure_lengths) == [4.0, 5.0]

    reloaded = request_scores(cache)
    assert reloaded.find_missing() == []
    assert reloaded.get_or_compute("flags", {}, measure_lengths) == [4.0, 5.0]


def test_a_new_revision_requests_its_own_prompts_again(cache: MeasurementCache) -> None:
    base_scores = request_scores(cache)
    for measure in ("topic", "voice", "flags"):
        base_scores.get_or_compute(measure, dict.fromkeys(range(5), "x"), measure_lengths)

    assert request_scores(cache, topic="t2").find_missing() == [0, 1, 2]
    assert request_scores(cache, base="base 2").find_missing() == [0, 1, 2, 3, 4]
