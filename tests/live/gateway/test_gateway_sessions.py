"""Test that every request of a conversation with each of twelve programs is answered.

An answer to a reader starts with the author's own sentence, which shows that the search used the
question and nothing else. A program's own request is answered in its format and does not count
as a reader's question. `test_gateway_disconnects.py` tests disconnects, and `test_gateway_paid.py`
tests repeated requests.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.live.gateway.recorded_sessions import BRASS, DOCUMENT, OIL, PROGRAMS, Program, Turn
from tests.live.gateway.stack import PASSAGES, Stack, parse_events

pytestmark = pytest.mark.live
OIL_QUOTE, BRASS_QUOTE = (f"> {PASSAGES[index][1]}" for index in (0, 1))


def send(stack: Stack, program: Program, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the text, or the arguments of a forced tool, and the field `twin` of an answer."""
    text, twin, _ = send_for_document(stack, program, body)
    return text, twin


def send_for_document(
    stack: Stack, program: Program, body: dict[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the result of `send`, and the last document of the response."""
    answer = stack.post(body, path=program.path)
    assert answer.status_code == 200, f"{body}: {answer.text}"
    events = parse_events(answer.text) if body.get("stream") else [answer.json()]
    text, twin, document = "", {}, {}
    for event in events:
        document = event.get("response") or event
        twin = document.get("twin") or twin
        for choice in event.get("choices", ()):
            message = choice.get("delta") or choice.get("message") or {}
            text += message.get("content") or ""
            text += "".join(
                call["function"]["arguments"] for call in message.get("tool_calls") or ()
            )
        text += event["delta"] if event.get("type") == "response.output_text.delta" else ""
        for item in event.get("output", ()):
            text += "".join(part["text"] for part in item["content"])
    return text, twin, document


def build_session_steps(program: Program) -> dict[str, tuple[list[Turn], str]]:
    """Return the steps of a session: the turns that are sent and the start of the answer."""

    def user(text: str) -> Turn:
        return program.make_turn("user", text)

    answer_turn = program.make_turn("assistant", f"{OIL_QUOTE}\n>\n> — On oil")
    many_turns = [turn for _ in range(9) for turn in (user(OIL), answer_turn)]
    return {
        "first": ([user(OIL)], OIL_QUOTE),
        "second": ([user(OIL), answer_turn, user(BRASS)], BRASS_QUOTE),
        "tenth": ([*many_turns, user(BRASS)], BRASS_QUOTE),
        "regenerated": ([user(BRASS), answer_turn, user(OIL)], OIL_QUOTE),
        "edited": ([user("Hello"), answer_turn, user(BRASS)], BRASS_QUOTE),
        "begun": ([user(OIL), program.make_turn("assistant", "A clock wants")], OIL_QUOTE),
        "picture before": (
            [program.make_picture_turn("What is this?"), answer_turn, user(OIL)],
            OIL_QUOTE,
        ),
        "tool before": (
            [user("Look."), *program.make_tool_turns(), answer_turn, user(OIL)],
            OIL_QUOTE,
        ),
        "tool's result": ([user(OIL), *program.make_tool_turns()], OIL_QUOTE),
        "document": ([user(program.attach(OIL, DOCUMENT))], OIL_QUOTE),
        "document before": (
            [user(program.attach(OIL, DOCUMENT)), answer_turn, user(BRASS)],
            BRASS_QUOTE,
        ),
    }


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_every_step_of_a_programs_session_is_answered(stack: Stack, program: Program) -> None:
    for step, (turns, expected) in build_session_steps(program).items():
        text, twin = send(stack, program, program.make_body(turns))
        assert text.startswith(expected), (step, text)
        assert (twin["answer"], twin["front_desk"]) == ("quote", ""), step


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_after_a_disconnect_the_question_is_answered_again(stack: Stack, program: Program) -> None:
    body = program.make_body(
        [program.make_turn("user", OIL)], **{"model": "twin/ann@base", "stream": True}
    )
    with stack.stream(body, path=program.path) as answer:
        assert answer.status_code == 200
        next(answer.iter_bytes())
    text, twin = send(stack, program, program.make_body([program.make_turn("user", OIL)]))
    assert text.startswith(OIL_QUOTE)
    assert twin["answer"] == "quote"


@pytest.mark.parametrize(
    "program",
    [program for program in PROGRAMS if program.make_reference],
    ids=lambda program: program.name,
)
def test_a_program_may_refer_to_earlier_answers(stack: Stack, program: Program) -> None:
    assert program.make_reference is not None
    turns: list[Turn] = [program.make_turn("user", OIL)]
    fields: dict[str, Any] = {}
    for number in range(10):
        question, expected = ((OIL, OIL_QUOTE), (BRASS, BRASS_QUOTE))[number % 2]
        turns[-1] = program.make_turn("user", question)
        text, twin, document = send_for_document(stack, program, program.make_body(turns, **fields))
        assert text.startswith(expected), number
        assert not {"previous_response_id", "item_reference"} & {*twin.get("ignored", ())}, number
        earlier_turns, reference = program.make_reference(document, turns)
        turns, fields = [*earlier_turns, {}], dict(reference)


def test_a_title_request_is_not_a_readers_question(stack: Stack) -> None:
    open_web_ui = PROGRAMS[0]
    request = (
        '### Task:\nName the chat.\n### Output:\nJSON format: { "title": "a title" }\n'
        f"<chat_history>\nUSER: {OIL}\nASSISTANT: One drop.\n</chat_history>"
    )
    turns = [open_web_ui.make_turn("user", request)]
    text, twin = send(stack, open_web_ui, open_web_ui.make_body(turns, max_completion_tokens=1000))
    assert json.loads(text) == {"title": "How much oil does a clock"}
    assert (twin["front_desk"], twin["sources"]) == ("housekeeping", [])
