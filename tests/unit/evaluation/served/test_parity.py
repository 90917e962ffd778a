"""Test the differences between the served and the trained model."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import pytest

from twin_assets.evaluation.served import parity
from twin_resources.models.serving.served_model import ServedAnswer

PROMPTS = [[{"role": "user", "content": f"prompt {number}"}] for number in range(12)]


class Reference:
    """Says the same of every token: what is compared with it is the servers' answer."""

    def log_probabilities(
        self,
        prompt: Sequence[Mapping[str, str]],
        tokens: Sequence[int],
        reported: Sequence[Collection[int]],
    ) -> list[dict[int, float]]:
        return [dict.fromkeys(wanted, -1.0) for wanted in reported]


def off_by(difference: float, *, tokens: int = 4) -> ServedAnswer:
    said = tuple({7: -1.0 - difference} for _ in range(tokens))
    return ServedAnswer("text", tuple([7] * tokens), said)


def compare(answers: Sequence[ServedAnswer]) -> parity.Parity:
    reference = cast(parity.ReferenceModel, Reference())
    found = parity.compare(reference, PROMPTS[: len(answers)], answers, answers)
    assert found is not None
    return found


def test_the_interval_widens_with_the_spread_between_prompts() -> None:
    chance = random.Random(4)
    near = compare([off_by(0.001 + 0.0001 * chance.random()) for _ in PROMPTS])
    far = compare([off_by(0.002 * chance.random()) for _ in PROMPTS])

    for found in (near, far):
        assert found.interval is not None
        assert found.interval.value == pytest.approx(found.mean)
        assert found.interval.low < found.mean < found.interval.high <= found.largest
    assert near.interval is not None
    assert far.interval is not None
    assert near.interval.high - near.interval.low < far.interval.high - far.interval.low


def test_the_tokens_of_an_answer_are_one_observation() -> None:
    short = compare([off_by(0.001 * number, tokens=2) for number in range(12)])
    long = compare([off_by(0.001 * number, tokens=16) for number in range(12)])

    assert (short.compared, long.compared) == (48, 384)
    assert short.interval == long.interval  # more tokens of the same prompts say nothing new


def test_one_prompt_has_no_interval() -> None:
    found = compare([off_by(0.001)])

    assert found.interval is None


def test_a_null_log_probability_is_not_agreement() -> None:
    nothing: Any = {7: None}
    found = compare([off_by(0.0), ServedAnswer("text", (7,), (nothing,)), off_by(0.0)])

    assert math.isnan(found.mean)


def test_empty_answers_are_not_compared() -> None:
    empty = [ServedAnswer("", (), ())] * 2

    assert (
        parity.compare(cast(parity.ReferenceModel, Reference()), PROMPTS[:2], empty, empty) is None
    )
