"""Which of the first answers `twin up` shows."""

from __future__ import annotations

from typing import Any

from twin_cli.commands.author_progress import EndpointAnswer
from twin_cli.commands.first_answers import best_quotations
from twin_cli.commands.presentation import sources_text


def quoted(question: str, score: float, text: str = "Slowly.") -> EndpointAnswer:
    quotes: tuple[dict[str, Any], ...] = ({"text": text, "score": score},)
    return EndpointAnswer(question, "", quotes=quotes, kind="quote")


def test_the_three_nearest_quotations_are_shown_and_code_comes_last() -> None:
    answers = [
        quoted("code", 0.99, "Run this:\n\n```c\nmain();\n```"),
        quoted("far", 0.4),
        EndpointAnswer("declined", "", kind="not_written_about"),
        quoted("near", 0.9),
    ]
    assert [answer.question for answer in best_quotations(answers)] == ["near", "far", "code"]
    more = [*answers, quoted("nearest", 0.95)]
    assert [answer.question for answer in best_quotations(more)] == ["nearest", "near", "far"]
    assert best_quotations([answers[2]]) == ()


def test_posts_are_not_listed_twice_below_an_answer_that_names_them() -> None:
    source = {"document_id": "d1", "title": "On oil", "url": ""}
    listed = [
        sources_text(EndpointAnswer("How?", "", kind=kind, sources=(source,)))
        for kind in ("quote", "not_written_about", "quote_and_voice", "voice")
    ]
    assert listed == ["", "", "· On oil", "· On oil"]
