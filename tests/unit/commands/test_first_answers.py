"""Test which first answers `twin up` shows, and when it lists their sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from twin_cli.commands.first_answers import select_best_quotations
from twin_cli.commands.presentation import format_sources
from twin_cli.commands.questions import EndpointAnswer


class StubEmbedder:
    """An embedder that returns a fixed vector for each text."""

    def __init__(self, cosines: dict[str, float]) -> None:
        self._cosines = cosines

    def embed(self, texts: list[str], *, are_questions: bool = False) -> np.ndarray:
        return np.array([[1.0 if are_questions else self._cosines[text]] for text in texts])


def build_answer(question: str, marked: str, following_text: str = "") -> EndpointAnswer:
    text = f"Well. {marked}{following_text}"
    quotes: tuple[dict[str, Any], ...] = ({"text": text, "marked": [6, 6 + len(marked)]},)
    return EndpointAnswer(question, "", quotes=quotes, kind="quote")


def test_the_best_quotations_come_first_and_code_last() -> None:
    embedder: Any = StubEmbedder({"Run it:": 0.99, "Rust.": 0.4, "Slowly.": 0.9, "With oil.": 0.95})
    answers = [
        build_answer("code", "Run it:", "\n\n```c\nmain();\n```"),
        build_answer("far", "Rust."),
        EndpointAnswer("declined", "", kind="not_found"),
        build_answer("near", "Slowly."),
    ]
    best_answers = select_best_quotations(answers, embedder)
    assert [answer.question for answer in best_answers] == ["near", "far", "code"]
    assert select_best_quotations([answers[2]], embedder) == ()


def test_sources_are_listed_only_below_answers_that_do_not_name_their_posts() -> None:
    source = {"document_id": "d1", "title": "On oil", "url": ""}
    source_texts = [
        format_sources(EndpointAnswer("How?", "", kind=kind, sources=(source,)))
        for kind in ("quote", "not_found", "quote_and_voice", "voice")
    ]
    assert source_texts == ["", "", "· On oil", "· On oil"]
