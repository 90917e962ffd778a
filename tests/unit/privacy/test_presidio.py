"""The second pass: its seam, and Presidio itself where it is installed (no model is downloaded)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from twin_resources.errors import TwinError
from twin_resources.privacy import TextSpan, redact
from twin_resources.privacy.presidio import NamesAndPlaces, second_pass, version_of


def names(text: str) -> Iterator[TextSpan]:
    """Finds one name, and claims a placeholder as well."""
    for found in ("Ann Bell", "[e-mail]"):
        start = text.find(found)
        if start != -1:
            yield TextSpan(start, start + len(found), "name")


def test_a_second_pass_adds_names_and_leaves_placeholders() -> None:
    found = redact("Ann Bell, ann@bell.org", second_pass=names)
    assert found.text == "[name], [e-mail]"
    assert found.counts == {"e-mail": 1, "name": 1}


def test_a_second_pass_that_finds_nothing_changes_nothing() -> None:
    text = "The spring drives the wheel."
    assert redact(text, second_pass=names).text is text


def test_what_a_second_pass_raises_is_raised() -> None:
    def fails(text: str) -> Iterator[TextSpan]:
        raise LookupError(text)

    with pytest.raises(LookupError, match="a wheel"):
        redact("a wheel", second_pass=fails)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)  # what Python sets for a module that is not
    with pytest.raises(TwinError, match=r"llm-twin\[presidio\]"):
        NamesAndPlaces("no_such_pipeline").second_pass("en")


def test_a_long_text_is_looked_through_in_pieces() -> None:
    class Engine:
        """Finds one name in what it is given, as the analyzer reports it."""

        def analyze(
            self, text: str, language: str, entities: list[str], *, score_threshold: float
        ) -> Iterator[Found]:
            del language, entities, score_threshold
            assert len(text) <= 100_000
            for match in re.finditer("Ann Bell|Bo Lee", text):
                yield Found("PERSON", match.start(), match.end())

    text = "A line of a long text.\n" * 6_000 + "x" * 150_000 + "\nAnn Bell met Bo Lee."
    found = redact(text, second_pass=second_pass(Engine(), keep=("Bo Lee-Smith",)))
    assert found.text == text.replace("Ann Bell", "[name]")


@dataclass(frozen=True)
class Found:
    entity_type: str
    start: int
    end: int


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A pipeline of spaCy on disk: a list of names instead of a trained model."""
    pytest.importorskip("presidio_analyzer", reason="extra `presidio` not installed")
    nlp: Any = import_module("spacy").blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(
        [
            {"label": "PERSON", "pattern": "Ann Bell"},
            {"label": "PERSON", "pattern": "Bo"},
            {"label": "GPE", "pattern": "Ulm"},
            {"label": "ORG", "pattern": "Clockworks"},
        ]
    )
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_presidio_finds_names_and_places_where_it_is_installed(pipeline: Path) -> None:
    look = NamesAndPlaces(str(pipeline), keep=("Bo Lee",)).second_pass("en")
    found = redact("Bo of Clockworks: ask Ann Bell in Ulm, +49 170 1234567.", second_pass=look)
    assert found.text == "Bo of Clockworks: ask [name] in [place], [phone]."


def test_a_pipeline_reads_posts_of_its_language_only(pipeline: Path) -> None:
    assert NamesAndPlaces(str(pipeline)).second_pass("de") is None


def test_a_missing_pipeline_is_not_fetched(pipeline: Path) -> None:
    with pytest.raises(TwinError, match="spacy download"):
        NamesAndPlaces(str(pipeline.with_name("none"))).second_pass("en")


def test_a_version_names_the_pipeline() -> None:
    assert version_of("polars").startswith("polars 1.")
    assert version_of("/a/folder") == "/a/folder"
