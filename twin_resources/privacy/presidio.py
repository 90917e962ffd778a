"""Presidio as a second look: people's names and places, which no pattern finds.

Belongs here: Presidio's analyzer over a pipeline of spaCy that is there, its findings as spans.
Does not belong here: fetching a pipeline; only the person who runs the twin can decide on that.

Optional (extra `presidio`), and off unless an author's settings name a pipeline:

    presidio_model = "en_core_web_lg"

Only what a model adds is asked for: the analyzer's own patterns touch many more posts than ours and
find less (`tests/bench/bench_privacy.py`). API: https://microsoft.github.io/presidio/analyzer
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, metadata
from types import MappingProxyType
from typing import Any, Protocol

from twin_resources.errors import TwinError
from twin_resources.privacy.kinds import Kind, TextSpan

ENTITIES: Mapping[str, Kind] = MappingProxyType({"PERSON": "name", "LOCATION": "place"})
LOWEST_SCORE = 0.6  # spaCy's models give each finding .85, Presidio's guesses by pattern .01 to .5

_ANY_LANGUAGE = "xx"  # spaCy's code of a pipeline for many languages
_LONGEST = 100_000  # characters at once; spaCy refuses a million
_WORD = re.compile(r"[^\W_]+")


class PresidioResult(Protocol):
    """`presidio_analyzer.RecognizerResult`."""

    entity_type: str
    start: int
    end: int


class Analyzer(Protocol):
    """`presidio_analyzer.AnalyzerEngine`."""

    def analyze(
        self, text: str, language: str, entities: list[str], *, score_threshold: float
    ) -> Iterable[PresidioResult]: ...


@dataclass(frozen=True)
class NamesAndPlaces:
    """Names and places by one pipeline, which is loaded at the first text.

    Attributes:
        model: of spaCy: an installed package, or a folder.
        keep: the author's own names, whole or in part, are no secret of the author's posts.
    """

    model: str
    keep: tuple[str, ...] = ()

    def second_pass(self, language: str) -> Callable[[str], Iterator[TextSpan]] | None:
        """What `redact(second_pass=…)` takes; None for a language that the pipeline does not read.

        Raises:
            TwinError: Presidio or the pipeline is not installed.
        """
        analyzer, reads = load_analyzer(self.model)
        if reads not in {_ANY_LANGUAGE, language}:
            return None
        return second_pass(analyzer, language=reads, keep=self.keep)


def second_pass(
    analyzer: Analyzer,
    *,
    language: str = "en",
    entities: Mapping[str, Kind] = ENTITIES,
    keep: Collection[str] = (),
) -> Callable[[str], Iterator[TextSpan]]:
    """What `redact(second_pass=…)` takes.

    Args:
        analyzer: knows the language.
        language: of the texts, as the analyzer names it.
        entities: Presidio's name of an entity → our kind; others are not asked for.
        keep: names of which any part stays.
    """
    names_to_keep = frozenset(word for name in keep for word in _WORD.findall(name.casefold()))

    def find(text: str) -> Iterator[TextSpan]:
        for offset, piece in _pieces(text):
            for one in analyzer.analyze(
                piece, language, list(entities), score_threshold=LOWEST_SCORE
            ):
                words = _WORD.findall(piece[one.start : one.end].casefold())
                if one.entity_type in entities and words and not names_to_keep.issuperset(words):
                    kind = entities[one.entity_type]
                    yield TextSpan(offset + one.start, offset + one.end, kind)

    return find


def version_of(model: str) -> str:
    """The pipeline's name, and its version where it is an installed package."""
    try:
        return f"{model} {metadata.version(model)}"
    except (metadata.PackageNotFoundError, ValueError):  # a folder, or not there yet
        return model


@lru_cache(maxsize=2)
def load_analyzer(model: str) -> tuple[Analyzer, str]:
    """Presidio's analyzer over a pipeline of spaCy, and the pipeline's language (`xx`: many).

    Nothing is fetched: Presidio by itself would download a pipeline that is missing.

    Raises:
        TwinError: Presidio or the pipeline is not installed.
    """
    tried = f"Looked for names and places with Presidio (presidio_model = {model!r})"
    try:
        spacy: Any = import_module("spacy")
        presidio: Any = import_module("presidio_analyzer")
        engines: Any = import_module("presidio_analyzer.nlp_engine")
        recognizers: Any = import_module("presidio_analyzer.predefined_recognizers")
    except ModuleNotFoundError as error:
        raise TwinError(
            tried,
            found=f"the module {error.name} is not installed",
            next_step="pip install 'llm-twin[presidio]', or take presidio_model out of the "
            "author's settings (authors/<slug>.toml)",
        ) from error
    try:
        pipeline: Any = spacy.load(model)
    except OSError as error:
        raise TwinError(
            tried,
            found=f"spaCy has no such pipeline: {error}",
            next_step=f"python -m spacy download {model}, or name one that is installed",
        ) from error
    language = str(pipeline.lang)
    engine: Any = engines.SpacyNlpEngine(models=[{"lang_code": language, "model_name": model}])
    engine.nlp = {language: pipeline}
    registry: Any = presidio.RecognizerRegistry(
        recognizers=[
            recognizers.SpacyRecognizer(
                supported_language=language, supported_entities=list(ENTITIES)
            )
        ],
        supported_languages=[language],
    )
    return presidio.AnalyzerEngine(
        registry=registry, nlp_engine=engine, supported_languages=[language]
    ), language


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """The text in pieces of whole lines (a longer line is cut), each with its place."""
    start = 0
    while start < len(text):
        end = start + _LONGEST
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield start, text[start:end]
        start = end
