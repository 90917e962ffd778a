"""The base's answers are asked for once, for whatever is not known of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.served.base_scores import BaseScores

PROMPTS = [[{"role": "user", "content": f"question {number}"}] for number in range(5)]


class NoTables:
    """Nothing was kept before."""

    def exists(self, *_: object) -> bool:
        return False


def lengths(_positions: Sequence[int], answers: list[str]) -> list[float]:
    return [float(len(text)) for text in answers]


def scores(kept: MeasurementCache, *, base: str = "base 1", topic: str = "t1") -> BaseScores:
    found = BaseScores(kept, [base, "engine", 40], PROMPTS)
    found.announce("topic", topic, range(3))
    found.announce("voice", "v1", range(3))
    found.announce("flags", "f1", [3, 4])
    return found


@pytest.fixture
def kept() -> MeasurementCache:
    return MeasurementCache(NoTables(), "ada")  # pyright: ignore[reportArgumentType]


def test_everything_is_asked_once_and_then_nothing(kept: MeasurementCache) -> None:
    first = scores(kept)
    assert first.missing() == [0, 1, 2, 3, 4]
    answers = {number: "x" * (number + 1) for number in range(5)}

    assert first.get_scores("topic", answers, lengths) == [1.0, 2.0, 3.0]
    assert scores(kept).missing() == [0, 1, 2, 3, 4], "voice and flags are still unknown"
    first.get_scores("voice", answers, lengths)
    assert first.get_scores("flags", answers, lengths) == [4.0, 5.0]

    again = scores(kept)
    assert again.missing() == []
    assert again.get_scores("flags", {}, lengths) == [4.0, 5.0]


def test_another_judge_asks_its_own_prompts_again_and_another_base_all(
    kept: MeasurementCache,
) -> None:
    first = scores(kept)
    for measure in ("topic", "voice", "flags"):
        first.get_scores(measure, dict.fromkeys(range(5), "x"), lengths)

    assert scores(kept, topic="t2").missing() == [0, 1, 2]
    assert scores(kept, base="base 2").missing() == [0, 1, 2, 3, 4]
