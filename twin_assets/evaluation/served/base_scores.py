"""Scores of the base model's answers, which one gate has and the next one need not ask for again.

Scope: what a score is known by, which answers are missing for it.
Out of scope: the scores (`measures/`), keeping numbers (`measurement_cache.py`).

Greedy answers follow from the prompt, so that a score is known by model, server, prompt and the
revision of what scores. One answer may be scored by several measures: it is asked for when one of
its scores is unknown.
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
    """Of one base model and one list of prompts.

    Attributes:
        told: what decides an answer besides its prompt: the model's revision, the server, the
            number of tokens.
    """

    kept: MeasurementCache
    told: Sequence[str | int | float]
    prompts: Sequence[list[Any]] = field(repr=False)

    def __post_init__(self) -> None:
        self._names: dict[str, tuple[Sequence[int], list[str]]] = {}

    def want(self, measure: str, revision: str, positions: Sequence[int]) -> None:
        """Announce a measure of the answers at some positions.

        Args:
            measure: names it here.
            revision: changes whenever a score could.
        """
        names = [
            digest("base answer", measure, revision, *self.told, self.prompts[position])
            for position in positions
        ]
        self._names[measure] = (positions, names)

    def are_wanted(self, measure: str) -> bool:
        """Whether a measure of the answers was announced."""
        return measure in self._names

    def missing(self) -> list[int]:
        """Positions whose answers have to be asked for."""
        missing: set[int] = set()
        for positions, names in self._names.values():
            missing |= {positions[at] for at in self.kept.unknown(names)}
        return sorted(missing)

    def scores(
        self,
        measure: str,
        answers: Mapping[int, str],
        score: Callable[[Sequence[int], list[str]], Sequence[float]],
    ) -> list[float]:
        """Scores of a measure in the order of its positions.

        Args:
            answers: at least those of `missing`.
            score: gets positions and answers of those that are not known.
        """
        positions, names = self._names[measure]

        def compute(missing: list[int]) -> Sequence[float]:
            places = [positions[at] for at in missing]
            return score(places, [answers[place] for place in places])

        return self.kept.of(names, compute)
