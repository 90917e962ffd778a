"""Test conversations in the form that the browser stores."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.page.turns import (
    MAX_TURNS,
    Turn,
    build_model_messages,
    find_last_answered_index,
    find_turn_index,
    list_feedback_values,
    new_turn,
    parse_conversations,
    render_messages,
    replace_turns,
)


def make_turn(question: str, answer: str = "", how: Any = "whole", **fields: Any) -> Turn:
    turn = new_turn(question, fields.pop("model", "twin/ann"))
    turn.update({"answer": answer, "how": how, **fields})  # type: ignore[typeddict-item]
    return turn


FAILED = make_turn("b", how="failed", why="no")
TURNS = [make_turn("a", "A", twin={"trace_id": "1"}), FAILED, make_turn("c", "C", how="stopped")]


def test_a_failed_question_is_shown_but_not_sent_to_a_model() -> None:
    assert [message["content"] for message in render_messages(TURNS)] == ["a", "A", "b", "c", "C"]
    messages = build_model_messages(TURNS, "d", model="twin/ann")
    assert [message["content"] for message in messages] == ["a", "A", "c", "C", "d"]


def test_a_model_receives_only_its_own_answers() -> None:
    turns = [make_turn("a", "A"), make_turn("b", "B", model="twin/ann@base")]
    messages = build_model_messages(turns, "c", model="twin/ann@base")
    assert [message["content"] for message in messages] == ["b", "B", "c"]


def test_a_message_index_is_mapped_to_its_turn() -> None:
    assert [find_turn_index(TURNS, number) for number in range(6)] == [0, 0, 1, 2, 2, None]
    assert find_turn_index(TURNS, [3, 0]) == 2
    assert [find_turn_index(TURNS, invalid) for invalid in (None, "x", [], -1)] == [None] * 4


def test_votes_are_listed_in_the_order_of_answers() -> None:
    """Gradio counts the text and the footnotes of an answer as separate messages."""
    facts = {"trace_id": "1"}
    turns = [
        make_turn("a", "A", vote="up", twin=facts),
        FAILED,
        make_turn("c", "C", vote="down"),
        make_turn("d", "D"),
    ]
    assert list_feedback_values(turns) == ["Like", "Like", "Dislike", None]


def test_later_passages_become_numbers_that_lead_to_their_footnotes() -> None:
    blocks = [f"> Passage {n}.\n>\n> — [Post {n}](https://x/{n}), 2024-05-01" for n in (1, 2, 3)]
    heading = "I found nothing. The closest:"
    prose = "\n\n✎ **Written by a program, not by <A>**\n\nI <b> it."
    framed = (
        '\n\n<aside class="twin-prose"><p class="twin-prose-label">'
        "Written by a program, not by &lt;A&gt;</p>\n\nI &lt;b> it."
    )

    def place(answer: str, number: int) -> dict[str, Any]:
        begin = answer.index(f"> Passage {number}.")
        return {"text": f"Passage {number}.", "at": [begin, begin + len(f"> Passage {number}.")]}

    quoted = "\n\n".join(blocks) + prose
    found = make_turn("a", quoted, twin={"quotes": [place(quoted, n) for n in (1, 2, 3)]})
    assert render_messages([found])[1]["content"] == (
        f"{blocks[0]} [2](#passage-2) [3](#passage-3){framed}"
    )
    listed = "\n\n".join([heading, *blocks[:2]])
    not_found = make_turn("a", listed, twin={"nearest": [place(listed, n) for n in (1, 2)]})
    assert render_messages([not_found])[1]["content"] == (
        f"{heading} [1](#passage-1) [2](#passage-2)"
    )
    for invalid in ([3], [0, 99], ["0", 4], None):
        found["twin"]["quotes"][2]["at"] = invalid
        assert "#passage" not in render_messages([found])[1]["content"]


def test_feedback_applies_to_the_last_answer_with_a_trace() -> None:
    assert find_last_answered_index(TURNS) == 0
    assert find_last_answered_index([FAILED]) is None


def test_an_answer_interrupted_by_leaving_the_page_is_stopped() -> None:
    """A reopened page has no answer in progress."""
    assert (
        parse_conversations({"ann": [make_turn("a", "half", how="writing")]})["ann"][0]["how"]
        == "stopped"
    )


def test_the_latest_author_is_last_and_old_turns_are_removed() -> None:
    turns = replace_turns({"ann": TURNS, "bob": []}, "ann", [make_turn(str(n)) for n in range(99)])
    assert list(turns) == ["bob", "ann"]
    assert len(turns["ann"]) == MAX_TURNS
    assert turns["ann"][-1]["question"] == "98"


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@pytest.mark.long
@given(json_like)
def test_any_stored_value_is_parsed(stored: object) -> None:
    for turns in parse_conversations(stored).values():
        render_messages(turns)
        messages = build_model_messages(turns, "x", model="twin/ann")
        assert messages[-1] == {"role": "user", "content": "x"}


@pytest.mark.long
@given(st.lists(st.dictionaries(st.sampled_from(list(new_turn("", ""))), json_like)))
def test_invalid_turns_are_parsed(rows: list[Any]) -> None:
    for parsed in parse_conversations({"ann": rows})["ann"]:
        assert isinstance(parsed["twin"], dict)
        assert parsed["how"] in ("whole", "stopped", "failed")
