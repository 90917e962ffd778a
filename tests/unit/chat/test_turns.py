"""A conversation as the browser keeps it."""

from __future__ import annotations

from typing import Any

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


def turn(question: str, answer: str = "", how: Any = "whole", **more: Any) -> Turn:
    made = new_turn(question, more.pop("model", "twin/ann"))
    made.update({"answer": answer, "how": how, **more})  # type: ignore[typeddict-item]
    return made


FAILED = turn("b", how="failed", why="no")
TURNS = [turn("a", "A", twin={"trace_id": "1"}), FAILED, turn("c", "C", how="stopped")]


def test_a_failed_question_is_shown_and_told_to_no_model() -> None:
    assert [one["content"] for one in render_messages(TURNS)] == ["a", "A", "b", "c", "C"]
    told = build_model_messages(TURNS, "d", model="twin/ann")
    assert [one["content"] for one in told] == ["a", "A", "c", "C", "d"]


def test_a_model_is_told_its_own_answers_only() -> None:
    turns = [turn("a", "A"), turn("b", "B", model="twin/ann@base")]
    told = build_model_messages(turns, "c", model="twin/ann@base")
    assert [one["content"] for one in told] == ["b", "B", "c"]


def test_a_message_leads_to_its_turn() -> None:
    assert [find_turn_index(TURNS, number) for number in range(6)] == [0, 0, 1, 2, 2, None]
    assert find_turn_index(TURNS, [3, 0]) == 2
    assert [find_turn_index(TURNS, odd) for odd in (None, "x", [], -1)] == [None] * 4


def test_votes_stand_at_their_answers() -> None:
    """Gradio counts a part of an answer, its text or its footnotes, as one of its own."""
    whole = {"trace_id": "1"}
    turns = [
        turn("a", "A", vote="up", twin=whole),
        FAILED,
        turn("c", "C", vote="down"),
        turn("d", "D"),
    ]
    assert list_feedback_values(turns) == ["Like", "Like", "Dislike", None]


def test_the_sentence_that_answers_is_marked_in_its_quotation() -> None:
    quote = {"text": "One drop. Two <drops> run.\nMore runs too.", "marked": [10, 40]}
    answer = "> One drop. Two <drops> run.\n> More runs too.\n>\n> — On oil"
    asked = turn("a", answer, twin={"quotes": [quote]})
    assert render_messages([asked])[1]["content"] == (
        "> One drop. <mark>Two &lt;drops> run.</mark>\n> <mark>More runs too</mark>.\n>\n> — On oil"
    )
    for odd in ([3], [5, 4], [0, 999], ["0", 4], None):
        asked["twin"]["quotes"][0]["marked"] = odd
        assert "<mark>" not in render_messages([asked])[1]["content"]


def test_feedback_is_about_the_last_answer_with_a_trace() -> None:
    assert find_last_answered_index(TURNS) == 0
    assert find_last_answered_index([FAILED]) is None


def test_a_page_that_was_left_while_it_wrote_has_stopped() -> None:
    """A page that is opened again has nothing under way."""
    assert (
        parse_conversations({"ann": [turn("a", "half", how="writing")]})["ann"][0]["how"]
        == "stopped"
    )


def test_the_author_talked_to_last_is_the_last_and_old_turns_go() -> None:
    talks = replace_turns({"ann": TURNS, "bob": []}, "ann", [turn(str(n)) for n in range(99)])
    assert list(talks) == ["bob", "ann"]
    assert len(talks["ann"]) == MAX_TURNS
    assert talks["ann"][-1]["question"] == "98"


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(json_like)
def test_whatever_a_browser_sends_is_read(kept: object) -> None:
    for turns in parse_conversations(kept).values():
        render_messages(turns)
        asked = build_model_messages(turns, "x", model="twin/ann")
        assert asked[-1] == {"role": "user", "content": "x"}


@given(st.lists(st.dictionaries(st.sampled_from(list(new_turn("", ""))), json_like)))
def test_odd_turns_are_read(rows: list[Any]) -> None:
    for one in parse_conversations({"ann": rows})["ann"]:
        assert isinstance(one["twin"], dict)
        assert one["how"] in ("whole", "stopped", "failed")
