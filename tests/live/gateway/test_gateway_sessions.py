"""Twelve programs, each over a whole conversation: every request of a session is answered.

An answer to a reader opens with the author's own sentence, so it was looked for by the question,
whatever stood around it. What a program asks for itself is answered in its form, and is no reader's
question. What a reader's leaving ends: `test_gateway_leaving.py`; asking again for the same
answer: `test_gateway_doors.py`.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.live.gateway.recorded_sessions import BRASS, DOCUMENT, OIL, PROGRAMS, Program, Turn
from tests.live.gateway.stack import PASSAGES, Stack

pytestmark = pytest.mark.live
ON_OIL, ON_BRASS = (f"> {PASSAGES[place][1]}" for place in (0, 1))


def send(stack: Stack, program: Program, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Text, or arguments of a forced tool, and the field `twin` of an answer."""
    text, twin, _ = answered(stack, program, body)
    return text, twin


def answered(
    stack: Stack, program: Program, body: dict[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The same, and the answer's document of the Responses API."""
    answer = httpx.post(**_request_arguments(stack, program, body))
    assert answer.status_code == 200, f"{body}: {answer.text}"
    lines = answer.text.split("\n") if body.get("stream") else ["data: " + answer.text]
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    text, twin, document = "", {}, {}
    for event in events:
        document = event.get("response") or event
        twin = document.get("twin") or twin
        for choice in event.get("choices", ()):
            said = choice.get("delta") or choice.get("message") or {}
            text += said.get("content") or ""
            text += "".join(one["function"]["arguments"] for one in said.get("tool_calls") or ())
        text += event["delta"] if event.get("type") == "response.output_text.delta" else ""
        for item in event.get("output", ()):
            text += "".join(part["text"] for part in item["content"])
    return text, twin, document


def _request_arguments(stack: Stack, program: Program, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "url": f"{stack.url}/v1/{program.path}",
        "json": body,
        "headers": {"Authorization": f"Bearer {stack.key}"},
        "timeout": 60,
        "trust_env": False,
    }


def conversations(program: Program) -> dict[str, tuple[list[Turn], str]]:
    """The steps of a session: the turns that are sent, and how the answer begins."""

    def user(text: str) -> Turn:
        return program.said("user", text)

    answered = program.said("assistant", f"{ON_OIL}\n>\n> — On oil")
    ten = [turn for _ in range(9) for turn in (user(OIL), answered)]
    return {
        "first": ([user(OIL)], ON_OIL),
        "second": ([user(OIL), answered, user(BRASS)], ON_BRASS),
        "tenth": ([*ten, user(BRASS)], ON_BRASS),
        "regenerated": ([user(BRASS), answered, user(OIL)], ON_OIL),
        "edited": ([user("Hello"), answered, user(BRASS)], ON_BRASS),
        "begun": ([user(OIL), program.said("assistant", "A clock wants")], ON_OIL),
        "picture before": ([program.pictured("What is this?"), answered, user(OIL)], ON_OIL),
        "tool before": ([user("Look."), *program.looked_up(), answered, user(OIL)], ON_OIL),
        "tool's result": ([user(OIL), *program.looked_up()], ON_OIL),
        "document": ([user(program.attached(OIL, DOCUMENT))], ON_OIL),
        "document before": (
            [user(program.attached(OIL, DOCUMENT)), answered, user(BRASS)],
            ON_BRASS,
        ),
    }


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_session_of_a_program(stack: Stack, program: Program) -> None:
    for step, (turns, expected) in conversations(program).items():
        text, twin = send(stack, program, program.body(turns))
        assert text.startswith(expected), (step, text)
        assert (twin["answer"], twin["front_desk"]) == ("quote", ""), step


@pytest.mark.drawn(3)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_after_a_disconnect_the_question_is_answered_again(stack: Stack, program: Program) -> None:
    body = program.body([program.said("user", OIL)], **{"model": "twin/ann@base", "stream": True})
    with httpx.stream("POST", **_request_arguments(stack, program, body)) as answer:
        assert answer.status_code == 200
        next(answer.iter_bytes())
    text, twin = send(stack, program, program.body([program.said("user", OIL)]))
    assert text.startswith(ON_OIL)
    assert twin["answer"] == "quote"


@pytest.mark.parametrize(
    "program", [one for one in PROGRAMS if one.names_answers], ids=lambda program: program.name
)
def test_a_program_may_name_the_answers_before(stack: Stack, program: Program) -> None:
    assert program.names_answers is not None
    turns: list[Turn] = [program.said("user", OIL)]
    more: dict[str, Any] = {}
    for number in range(10):
        asked, expected = ((OIL, ON_OIL), (BRASS, ON_BRASS))[number % 2]
        turns[-1] = program.said("user", asked)
        text, twin, document = answered(stack, program, program.body(turns, **more))
        assert text.startswith(expected), number
        assert not {"previous_response_id", "item_reference"} & {*twin.get("ignored", ())}, number
        before, named = program.names_answers(document, turns)
        turns, more = [*before, {}], dict(named)


@pytest.mark.drawn(3)
@pytest.mark.parametrize(
    "program", [one for one in PROGRAMS if one.title], ids=lambda program: program.name
)
def test_a_title_is_no_readers_question_and_in_the_form_that_is_forced(
    stack: Stack, program: Program
) -> None:
    assert program.title is not None
    system, last, more = program.title
    turns = [program.said("system", system)] if system else []
    if OIL not in last:
        turns += [program.said("user", OIL), program.said("assistant", "One drop.")]
    text, twin = send(stack, program, program.body([*turns, program.said("user", last)], **more))
    is_json = bool({"response_format", "tools", "text"} & more.keys()) or "JSON" in last
    assert (json.loads(text)["title"] if is_json else text) == "How much oil does a clock"
    assert (twin["front_desk"], twin["sources"]) == ("housekeeping", [])
