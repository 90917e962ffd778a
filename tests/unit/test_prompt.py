"""Test the rendering of prompts and the hashes of templates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from twin_resources.errors import TwinError
from twin_resources.prompt.templates import (
    DEFAULT_TEMPLATE,
    TEMPLATES,
    find_template,
    render,
    strip_passages,
)


@dataclass(frozen=True)
class Passage:
    title: str
    text: str
    published_at: datetime | None = None
    document_id: str = "d"
    position: int = 0
    start: int = 0
    end: int = 0


def test_passages_precede_the_question_in_order() -> None:
    messages = render(
        DEFAULT_TEMPLATE,
        author_name="Ada",
        question="\n Why a stack? ",
        passages=[
            Passage("First", "\none\n", datetime(2020, 3, 4, tzinfo=UTC)),
            Passage("Next", "two"),
        ],
    )
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[1]["content"] == (
        "From my posts:\n\n[1] First (2020-03-04)\none\n\n[2] Next (undated)\ntwo\n\n"
        "Question: Why a stack?"
    )
    assert "Ada" in messages[0]["content"]


def test_adjacent_pieces_of_a_post_become_one_passage() -> None:
    date = datetime(2020, 3, 4, tzinfo=UTC)
    pieces = [
        Passage("Clocks", "Oil thickens", date, "a", 3, 100, 112),
        Passage("Clocks", "in the cold.", date, "a", 4, 113, 125),
        Passage("Clocks", "Wipe it off.", date, "a", 5, 127, 139),
        Passage("Clocks", "Far from there.", date, "a", 7, 300, 315),
        Passage("Boats", "Another post.", date, "b", 8, 316, 329),
        Passage("Boats", "What stands before.", date, "b", 7, 290, 309),
    ]
    content = render(DEFAULT_TEMPLATE, author_name="Ada", question="Why?", passages=pieces)
    assert content[1]["content"] == (
        "From my posts:\n\n"
        "[1] Clocks (2020-03-04)\nOil thickens\nin the cold.\n\nWipe it off.\n\n"
        "[2] Clocks (2020-03-04)\nFar from there.\n\n"
        "[3] Boats (2020-03-04)\nAnother post.\n\n"
        "[4] Boats (2020-03-04)\nWhat stands before.\n\n"
        "Question: Why?"
    )


def test_a_word_cut_in_two_is_joined() -> None:
    parts = [Passage("T", "a" * 9, None, "a", 0, 0, 9), Passage("T", "b" * 9, None, "a", 1, 9, 18)]
    content = render(DEFAULT_TEMPLATE, author_name="Ada", question="Why?", passages=parts)
    assert "a" * 9 + "b" * 9 in content[1]["content"]


def test_a_prompt_without_passages_has_no_heading() -> None:
    content = render(DEFAULT_TEMPLATE, author_name="Ada", question="Why?")[1]["content"]
    assert content == "Question: Why?"


def test_every_content_is_stripped() -> None:
    messages = render(
        DEFAULT_TEMPLATE,
        author_name="Ada",
        question="\nWhy?\n",
        history=[
            {"role": "user", "content": "\nHello\n"},
            {"role": "assistant", "content": "\n\nGood day. "},
        ],
    )
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert all(message["content"] == message["content"].strip() for message in messages)


def test_braces_in_user_text_are_kept() -> None:
    passages = [Passage("{t}", "x {y}")]
    messages = render(DEFAULT_TEMPLATE, author_name="{A}", question="{question}", passages=passages)
    content = messages[1]["content"]
    assert "{question}" in content
    assert "[1] {t} (undated)\nx {y}" in content


@pytest.mark.parametrize("question", ["Why Rust?", "Why?\n\nQuestion: and who?", "From my posts:"])
def test_stripping_passages_gives_the_prompt_without_passages(question: str) -> None:
    passages = [Passage("Title", "A text.\n\nQuestion: is it one?")]
    terms = {"author_name": "Ada", "question": question}
    with_passages = render(DEFAULT_TEMPLATE, **terms, passages=passages)[-1]["content"]
    bare = render(DEFAULT_TEMPLATE, **terms)[-1]["content"]
    assert "A text." in with_passages
    assert strip_passages(with_passages) == bare
    assert strip_passages(bare) == bare


def test_a_system_message_in_the_history_is_refused() -> None:
    with pytest.raises(TwinError, match="system"):
        render(
            DEFAULT_TEMPLATE,
            author_name="Ada",
            question="q",
            history=[{"role": "system", "content": "obey"}],
        )


def test_the_hash_covers_every_text_of_a_template() -> None:
    hashes = {
        replace(DEFAULT_TEMPLATE, **{name: "other"}).hash
        for name in DEFAULT_TEMPLATE.__dataclass_fields__
    }
    assert len(hashes | {DEFAULT_TEMPLATE.hash}) == len(DEFAULT_TEMPLATE.__dataclass_fields__) + 1


def test_the_default_template_is_unchanged() -> None:
    # Checkpoints were trained with this template. Add a new one instead of editing it.
    assert DEFAULT_TEMPLATE.hash == "a06562f8719413b1"
    assert find_template("a06562f8719413b1") is TEMPLATES["a06562f8719413b1"] is DEFAULT_TEMPLATE


def test_the_error_for_an_unknown_template_has_advice() -> None:
    with pytest.raises(TwinError, match="or train again"):
        find_template("0" * 16)
