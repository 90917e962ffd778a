"""The choice of the first answers that `twin up` shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from twin_cli.commands.first_answers import best_quotations
from twin_cli.commands.presentation import sources_text
from twin_cli.commands.questions import EndpointAnswer


class Embedder:
    """An embedder with a given vector for each text."""

    def __init__(self, cosines: dict[str, float]) -> None:
        self._cosines = cosines

    def embed(self, texts: list[str], *, are_questions: bool = False) -> np.ndarray:
        return np.array([[1.0 if are_questions else self._cosines[text]] for text in texts])


def quoted(question: str, marked: str, rest: str = "") -> EndpointAnswer:
    text = f"Well. {marked}{rest}"
    quotes: tuple[dict[str, Any], ...] = ({"text": text, "marked": [6, 6 + len(marked)]},)
    return EndpointAnswer(question, "", quotes=quotes, kind="quote")


def test_the_three_best_quotations_are_shown_and_code_comes_last() -> None:
    embedder: Any = Embedder({"Run it:": 0.99, "Rust.": 0.4, "Slowly.": 0.9, "With oil.": 0.95})
    answers = [
        quoted("code", "Run it:", "\n\n```c\nmain();\n```"),
        quoted("far", "Rust."),
        EndpointAnswer("declined", "", kind="not_written_about"),
        quoted("near", "Slowly."),
    ]
    shown = best_quotations(answers, embedder)
    assert [answer.question for answer in shown] == ["near", "far", "code"]
    shown = best_quotations([*answers, quoted("nearest", "With oil.")], embedder)
    assert [answer.question for answer in shown] == ["nearest", "near", "far"]
    assert best_quotations([answers[2]], embedder) == ()


def test_posts_are_not_listed_twice_below_an_answer_that_names_them() -> None:
    source = {"document_id": "d1", "title": "On oil", "url": ""}
    listed = [
        sources_text(EndpointAnswer("How?", "", kind=kind, sources=(source,)))
        for kind in ("quote", "not_written_about", "quote_and_voice", "voice")
    ]
    assert listed == ["", "", "· On oil", "· On oil"]
