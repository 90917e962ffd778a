"""Presidio as a second look: people's names and places, which no pattern finds.

Belongs here: an analyzer's findings as spans. Does not belong here: making the analyzer; its model
of a language is a download that only the person who runs the twin can decide on.

Optional: nothing here imports Presidio. With it installed, for a model of spaCy that is there:

    engine = AnalyzerEngine(nlp_engine=…, supported_languages=["en"])
    redact(text, second_pass=second_pass(engine))

Only what a model adds is asked for: the analyzer's own patterns touch many more posts than ours and
find less (`tests/bench/bench_privacy.py`). API: https://microsoft.github.io/presidio/analyzer
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

from twin_resources.privacy.kinds import Kind, Span

ENTITIES: Mapping[str, Kind] = MappingProxyType({"PERSON": "name", "LOCATION": "place"})
LOWEST_SCORE = 0.6  # spaCy's models give each finding .85, Presidio's guesses by pattern .01 to .5


class Finding(Protocol):
    """`presidio_analyzer.RecognizerResult`."""

    entity_type: str
    start: int
    end: int


class Analyzer(Protocol):
    """`presidio_analyzer.AnalyzerEngine`."""

    def analyze(
        self, text: str, language: str, entities: list[str], *, score_threshold: float
    ) -> Iterable[Finding]: ...


def second_pass(
    analyzer: Analyzer, *, language: str = "en", entities: Mapping[str, Kind] = ENTITIES
) -> Callable[[str], Iterator[Span]]:
    """What `redact(second_pass=…)` takes.

    Args:
        analyzer: knows the language.
        language: of the texts, as the analyzer names it.
        entities: Presidio's name of an entity → our kind; others are not asked for.
    """

    def find(text: str) -> Iterator[Span]:
        found = analyzer.analyze(text, language, list(entities), score_threshold=LOWEST_SCORE)
        for one in found:
            if one.entity_type in entities and one.start < one.end:
                yield Span(one.start, one.end, entities[one.entity_type])

    return find
