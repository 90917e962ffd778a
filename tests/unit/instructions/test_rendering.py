"""A prompt that is not filled in is found, and the author's own braces are none."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twin_assets.instructions.prompt_rendering import (
    RenderingErrors,
    check_rendering,
    count_marks,
    find_documents_with_marks,
)
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, render

BRACES = "Write `{question}` or {{ name }} there; None of it is filled, says %(who)s."
QUESTION = "What is {question} for?"
DOCUMENTS = pl.DataFrame({"document_id": ["d"], "title": ["On {{ name }}"], "text": [BRACES]})


class Shown:
    title = "On {{ name }}"
    text = f"\n{BRACES}\n"
    published_at = None
    document_id = "d"
    position = start = end = 0


CHUNKS = pl.DataFrame({"chunk_id": ["c"], "title": [Shown.title], "text": [Shown.text]})


def row(*, question: str = QUESTION, asked: str | None = None, **changed: Any) -> dict[str, Any]:
    """A sample; `asked` is what the template was given."""
    messages = render(
        DEFAULT_TEMPLATE,
        author_name="Ada",
        question=question if asked is None else asked,
        passages=[Shown()],
    )
    return {
        "document_id": "d",
        "question": question,
        "messages": [*messages, {"role": "assistant", "content": "Because {x}."}],
        "context_chunk_ids": ["c"],
    } | changed


def broken(**changed: Any) -> set[str]:
    errors = check_rendering(pl.DataFrame([row(**changed)]), CHUNKS, DOCUMENTS)
    return {name for name, count in vars(errors).items() if count and name != "rows"}


def said(part: int, content: str) -> list[dict[str, str]]:
    messages = row()["messages"]
    messages[part] = {**messages[part], "content": content}
    return messages


def test_braces_of_the_author_are_the_authors() -> None:
    assert broken() == set()
    errors = check_rendering(pl.DataFrame([row()]), CHUNKS, DOCUMENTS)
    assert errors == RenderingErrors(rows=1)
    assert errors.holds


PROMPT = row()["messages"][1]["content"]


@pytest.mark.parametrize(
    ("count", "changed"),
    [
        ("no_question", {"asked": "{question}"}),
        ("left_open", {"messages": said(1, f"{{passages}}\n\n{PROMPT}")}),
        ("left_open", {"messages": said(1, f"{{question}}\n\n{PROMPT}")}),
        ("left_open", {"messages": said(1, f"{{{{ posts }}}}\n\n{PROMPT}")}),
        ("left_open", {"messages": said(1, PROMPT.replace("undated", "None"))}),
        ("left_open", {"messages": said(0, "You answer in the voice of {author}.")}),
        ("open_question", {"question": "What about {subject}?"}),
        ("open_question", {"question": "Why does None come up in “”?"}),
        ("empty", {"question": ""}),
        ("empty", {"question": "“ ”?"}),
        ("empty", {"messages": said(2, "…")}),
        ("unstripped", {"messages": said(2, "\nBecause.")}),
        ("no_passage", {"messages": said(1, f"From my posts:\n\nQuestion: {QUESTION}")}),
        ("other_roles", {"messages": row()["messages"][1:]}),
    ],
)
def test_unfilled_marks_are_counted(count: str, changed: dict[str, Any]) -> None:
    assert count in broken(**changed)


def test_marks_are_counted() -> None:
    assert count_marks("{a} {{ b }} ${c} {% if d %} %(e)s {} None “ ”") == dict.fromkeys(
        ["{a}", "{{ b }}", "${c}", "{% if d %}", "%(e)s", "{}", "None", "“ ”"], 1
    )
    assert not count_marks("Nonesuch { a: 1 } 5 % (of) it “x”")


def test_only_openly_named_posts_are_checked() -> None:
    rows = pl.DataFrame({"document_id": ["d", "e"], "question": [QUESTION, "Why?"]})
    assert find_documents_with_marks(rows) == ["d"]
