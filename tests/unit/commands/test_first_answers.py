"""Test which first answers `twin up` shows, and when it lists their sources."""

from __future__ import annotations

from typing import Any

from twin_cli.commands.first_answers import select_best_quotations
from twin_cli.commands.presentation import format_sources
from twin_cli.commands.questions import EndpointAnswer


def build_answer(question: str, score: float, text: str = "Well.") -> EndpointAnswer:
    quotes: tuple[dict[str, Any], ...] = ({"text": text, "score": score},)
    return EndpointAnswer(question, "", quotes=quotes, kind="quote")


def test_the_best_quotations_come_first_and_code_last() -> None:
    answers = [
        build_answer("code", 0.99, "Run it:\n\n```c\nmain();\n```"),
        build_answer("far", 0.4),
        EndpointAnswer("declined", "", kind="not_found"),
        build_answer("near", 0.9),
    ]
    best_answers = select_best_quotations(answers)
    assert [answer.question for answer in best_answers] == ["near", "far", "code"]
    assert select_best_quotations([answers[2]]) == ()


def test_sources_are_listed_only_below_answers_that_do_not_name_their_posts() -> None:
    source = {"document_id": "d1", "title": "On oil", "url": ""}
    source_texts = [
        format_sources(EndpointAnswer("How?", "", kind=kind, sources=(source,)))
        for kind in ("quote", "not_found", "quote_and_voice", "voice")
    ]
    assert source_texts == ["", "", "· On oil", "· On oil"]
