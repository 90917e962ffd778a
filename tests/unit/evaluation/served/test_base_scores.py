"""Test that the base answers only prompts whose scores are unknown."""

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


def lengths(_positions: Sequence[int], answers: list[str]) -> list[float]:
    return [float(len(text)) for text in answers]


def announce_scores(
    cache: MeasurementCache, *, base: str = "base 1", topic: str = "t1"
) -> BaseScores:
    base_scores = BaseScores(cache, [base, "engine", 40], PROMPTS)
    base_scores.announce("topic", topic, range(3))
    base_scores.announce("voice", "v1", range(3))
    base_scores.announce("flags", "f1", [3, 4])
    return base_scores


@pytest.fixture
def cache() -> MeasurementCache:
    return MeasurementCache(EmptyTables(), "ada")  # pyright: ignore[reportArgumentType]


def test_known_scores_are_not_requested_again(cache: MeasurementCache) -> None:
    first = announce_scores(cache)
    assert first.missing() == [0, 1, 2, 3, 4]
    answers = {number: "x" * (number + 1) for number in range(5)}

    assert first.get_scores("topic", answers, lengths) == [1.0, 2.0, 3.0]
    assert announce_scores(cache).missing() == [0, 1, 2, 3, 4], "voice and flags are still unknown"
    first.get_scores("voice", answers, lengths)
    assert first.get_scores("flags", answers, lengths) == [4.0, 5.0]

    again = announce_scores(cache)
    assert again.missing() == []
    assert again.get_scores("flags", {}, lengths) == [4.0, 5.0]


def test_a_new_revision_requests_its_own_prompts_again(
    cache: MeasurementCache,
) -> None:
    first = announce_scores(cache)
    for measure in ("topic", "voice", "flags"):
        first.get_scores(measure, dict.fromkeys(range(5), "x"), lengths)

    assert announce_scores(cache, topic="t2").missing() == [0, 1, 2]
    assert announce_scores(cache, base="base 2").missing() == [0, 1, 2, 3, 4]
