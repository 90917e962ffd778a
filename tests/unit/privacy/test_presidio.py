"""The second pass: its seam, and Presidio itself where it is installed (no model is downloaded)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from twin_resources.privacy import Span, redact
from twin_resources.privacy.presidio import second_pass


def names(text: str) -> Iterator[Span]:
    """Finds one name, and claims a placeholder as well."""
    for found in ("Ann Bell", "[e-mail]"):
        start = text.find(found)
        if start != -1:
            yield Span(start, start + len(found), "name")


def test_a_second_pass_adds_names_and_leaves_placeholders() -> None:
    found = redact("Ann Bell, ann@bell.org", second_pass=names)
    assert found.text == "[name], [e-mail]"
    assert found.counts == {"e-mail": 1, "name": 1}


def test_a_second_pass_that_finds_nothing_changes_nothing() -> None:
    text = "The spring drives the wheel."
    assert redact(text, second_pass=names).text is text


def test_what_a_second_pass_raises_is_raised() -> None:
    def fails(text: str) -> Iterator[Span]:
        raise LookupError(text)

    with pytest.raises(LookupError, match="a wheel"):
        redact("a wheel", second_pass=fails)


def test_presidio_finds_names_where_it_is_installed() -> None:
    presidio = pytest.importorskip("presidio_analyzer", reason="extra `presidio` not installed")
    spacy = pytest.importorskip("spacy")
    engines = pytest.importorskip("presidio_analyzer.nlp_engine")

    class Ruled(engines.SpacyNlpEngine):
        """spaCy with a list of names instead of a model."""

        def load(self) -> None:
            pipeline = spacy.blank("en")
            ruler = pipeline.add_pipe("entity_ruler")
            ruler.add_patterns([{"label": "PERSON", "pattern": "Ann Bell"}])
            self.nlp = {"en": pipeline}

    nlp = Ruled(ner_model_configuration=engines.NerModelConfiguration())
    engine = presidio.AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"])
    found = redact("Ask Ann Bell on +49 170 1234567.", second_pass=second_pass(engine))
    assert found.text == "Ask [name] on [phone]."
