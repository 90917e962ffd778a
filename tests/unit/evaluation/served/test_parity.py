"""Test the differences between the served and the trained model."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import pytest

from twin_assets.checkpoints.samples import strip_messages
from twin_assets.evaluation.served import parity
from twin_resources.models.serving.served_model import ServedAnswer

PROMPTS = [[{"role": "user", "content": f"prompt {number}"}] for number in range(12)]


class ConstantReference:
    """A reference that returns the same log-probability for every token."""

    def __init__(self, log_probability: float = -1.0) -> None:
        self.log_probability = log_probability

    def strip(self, prompt: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        return strip_messages(prompt)

    def log_probabilities(
        self,
        prompt: Sequence[Mapping[str, str]],
        tokens: Sequence[int],
        reported: Sequence[Collection[int]],
    ) -> list[dict[int, float]]:
        return [dict.fromkeys(token_ids, self.log_probability) for token_ids in reported]


def make_answer(difference: float, *, token_count: int = 4) -> ServedAnswer:
    log_probabilities = tuple({7: -1.0 - difference} for _ in range(token_count))
    return ServedAnswer("text", tuple([7] * token_count), log_probabilities)


def compare(answers: Sequence[ServedAnswer]) -> parity.Parity:
    reference = cast(parity.ReferenceModel, ConstantReference())
    result = parity.compare(reference, PROMPTS[: len(answers)], answers, answers)
    assert result is not None
    return result


def test_the_interval_widens_with_the_spread_between_prompts() -> None:
    rng = random.Random(4)
    narrow = compare([make_answer(0.001 + 0.0001 * rng.random()) for _ in PROMPTS])
    wide = compare([make_answer(0.002 * rng.random()) for _ in PROMPTS])

    for result in (narrow, wide):
        assert result.interval is not None
        assert result.interval.value == pytest.approx(result.mean)
        assert result.interval.low < result.mean < result.interval.high <= result.largest
    assert narrow.interval is not None
    assert wide.interval is not None
    assert narrow.interval.high - narrow.interval.low < wide.interval.high - wide.interval.low


def test_the_tokens_of_an_answer_are_one_observation() -> None:
    short = compare([make_answer(0.001 * number, token_count=2) for number in range(12)])
    long = compare([make_answer(0.001 * number, token_count=16) for number in range(12)])

    assert (short.value_count, long.value_count) == (48, 384)
    assert short.interval == long.interval  # more tokens of the same prompts add no observation


def test_one_prompt_has_no_interval() -> None:
    result = compare([make_answer(0.001)])

    assert result.interval is None


def test_a_null_log_probability_is_not_agreement() -> None:
    null: Any = {7: None}
    result = compare([make_answer(0.0), ServedAnswer("text", (7,), (null,)), make_answer(0.0)])

    assert math.isnan(result.mean)


def test_empty_answers_are_not_compared() -> None:
    empty_answers = [ServedAnswer("", (), ())] * 2

    assert (
        parity.compare(
            cast(parity.ReferenceModel, ConstantReference()),
            PROMPTS[:2],
            empty_answers,
            empty_answers,
        )
        is None
    )
