"""Reuse scores of the base model's answers from earlier gates.

Greedy answers depend only on the prompt, so a score's key consists of model, server, prompt and the
scorer's revision. Several measures may score one answer. The base generates an answer only if one
of these scores is unknown.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_resources.quality.judges.judge import digest


@dataclass
class BaseScores:
    """Scores of one base model for one list of prompts.

    Attributes:
        key_inputs: inputs other than the prompt that determine an answer: the model's revision, the
            server, the number of tokens, the frequency penalty.
    """

    cache: MeasurementCache
    key_inputs: Sequence[str | int | float]
    prompts: Sequence[list[Any]] = field(repr=False)

    def __post_init__(self) -> None:
        self._requested: dict[str, tuple[Sequence[int], list[str]]] = {}

    def request(self, measure: str, revision: str, positions: Sequence[int]) -> None:
        """Request a measure's scores of the answers at some positions.

        Args:
            measure: name of the measure.
            revision: string that changes whenever a score could change.
        """
        keys = [
            digest("base answer", measure, revision, *self.key_inputs, self.prompts[position])
            for position in positions
        ]
        self._requested[measure] = (positions, keys)

    def forget_requests(self) -> None:
        """Start a new round of requests; stored scores stay."""
        self._requested.clear()

    def is_requested(self, measure: str) -> bool:
        """Return whether a measure's scores were requested."""
        return measure in self._requested

    def find_missing(self) -> list[int]:
        """Return the positions of prompts that the base must answer."""
        missing_positions: set[int] = set()
        for positions, keys in self._requested.values():
            missing_positions |= {positions[index] for index in self.cache.find_missing(keys)}
        return sorted(missing_positions)

    def get_or_compute(
        self,
        measure: str,
        answers: Mapping[int, str],
        score: Callable[[Sequence[int], list[str]], Sequence[float]],
    ) -> list[float]:
        """Return the scores of a measure in the order of its positions.

        Args:
            answers: answers by position, at least those returned by `find_missing`.
            score: function that returns the unknown scores for positions and answers.
        """
        positions, keys = self._requested[measure]

        def compute(missing: list[int]) -> Sequence[float]:
            answer_positions = [positions[index] for index in missing]
            return score(answer_positions, [answers[position] for position in answer_positions])

        return self.cache.get_or_compute(keys, compute)
