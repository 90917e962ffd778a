"""Test that unfilled placeholders are counted, and that the author's own braces are not."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twin_assets.instructions.prompt_rendering import (
    RenderingErrors,
    check_rendering,
    count_placeholders,
    find_documents_with_placeholders,
)
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render

BRACES = "Write `{question}` or {{ name }} there; None of it is filled, says %(who)s."
QUESTION = "What is {question} for?"
DOCUMENTS = pl.DataFrame({"document_id": ["d"], "title": ["On {{ name }}"], "text": [BRACES]})


class ShownPassage:
    title = "On {{ name }}"
    text = f"\n{BRACES}\n"
    published_at = None
    document_id = "d"
    position = start = end = 0


CHUNKS = pl.DataFrame(
    {"chunk_id": ["c"], "title": [ShownPassage.title], "text": [ShownPassage.text]}
)


def build_row(
    *, question: str = QUESTION, template_question: str | None = None, **changes: Any
) -> dict[str, Any]:
    """Build a sample; the prompt contains `template_question` if it is given."""
    messages = render(
        DEFAULT_TEMPLATE,
        author_name="Ada",
        question=question if template_question is None else template_question,
        passages=[ShownPassage()],
    )
    return {
        "document_id": "d",
        "question": question,
        "messages": [*messages, {"role": "assistant", "content": "Because {x}."}],
        "context_chunk_ids": ["c"],
    } | changes


def find_errors(**changes: Any) -> set[str]:
    errors = check_rendering(pl.DataFrame([build_row(**changes)]), CHUNKS, DOCUMENTS)
    return {name for name, count in vars(errors).items() if count and name != "rows"}


def replace_message(index: int, content: str) -> list[dict[str, str]]:
    messages = build_row()["messages"]
    messages[index] = {**messages[index], "content": content}
    return messages


def test_braces_of_the_author_are_not_errors() -> None:
    assert find_errors() == set()
    errors = check_rendering(pl.DataFrame([build_row()]), CHUNKS, DOCUMENTS)
    assert errors == RenderingErrors(rows=1)
    assert errors.holds


PROMPT = build_row()["messages"][1]["content"]


@pytest.mark.parametrize(
    ("error_name", "changes"),
    [
        ("no_question", {"template_question": "{question}"}),
        ("left_open", {"messages": replace_message(1, f"{{passages}}\n\n{PROMPT}")}),
        ("left_open", {"messages": replace_message(1, f"{{question}}\n\n{PROMPT}")}),
        ("left_open", {"messages": replace_message(1, f"{{{{ posts }}}}\n\n{PROMPT}")}),
        ("left_open", {"messages": replace_message(1, PROMPT.replace("undated", "None"))}),
        ("left_open", {"messages": replace_message(0, "You answer in the voice of {author}.")}),
        ("open_question", {"question": "What about {subject}?"}),
        ("open_question", {"question": "Why does None come up in “”?"}),
        ("empty", {"question": ""}),
        ("empty", {"question": "“ ”?"}),
        ("empty", {"messages": replace_message(2, "…")}),
        ("unstripped", {"messages": replace_message(2, "\nBecause.")}),
        ("no_passage", {"messages": replace_message(1, f"From my posts:\n\nQuestion: {QUESTION}")}),
        ("other_roles", {"messages": build_row()["messages"][1:]}),
    ],
)
def test_prompt_errors_are_counted(error_name: str, changes: dict[str, Any]) -> None:
    assert error_name in find_errors(**changes)


def test_placeholders_are_counted() -> None:
    assert count_placeholders("{a} {{ b }} ${c} {% if d %} %(e)s {} None “ ”") == dict.fromkeys(
        ["{a}", "{{ b }}", "${c}", "{% if d %}", "%(e)s", "{}", "None", "“ ”"], 1
    )
    assert not count_placeholders("Nonesuch { a: 1 } 5 % (of) it “x”")


def test_documents_with_placeholders_in_their_questions_are_listed() -> None:
    rows = pl.DataFrame({"document_id": ["d", "e"], "question": [QUESTION, "Why?"]})
    assert find_documents_with_placeholders(rows) == ["d"]
