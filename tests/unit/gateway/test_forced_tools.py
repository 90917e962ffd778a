"""A forced tool as a request for JSON, and the JSON as a call of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.unit.gateway.test_other_apis import WHOLE, chunk
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.forced_tools import convert_forced_tool
from twin_resources.gateway.request.request_body import admit_body, read_question

SCHEMA = {"type": "object", "properties": {"drops": {"type": "integer"}}}
OIL = {"type": "function", "function": {"name": "oil", "parameters": SCHEMA, "strict": True}}
WIND = {"type": "function", "function": {"name": "wind"}}
NAMED = {"type": "function", "function": {"name": "oil"}}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "twin/ann", "messages": [{"role": "user", "content": "How much?"}]} | fields


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [OIL], "tool_choice": "required"},
        {"tools": [OIL, WIND], "tool_choice": NAMED, "parallel_tool_calls": False},
    ],
)
def test_a_forced_tool_asks_for_its_arguments(fields: dict[str, Any]) -> None:
    carried = convert_forced_tool(body(**fields))
    assert carried is not None
    asked = read_question(admit_body(carried.chat, also_ignored=carried.ignored))
    assert asked.response_format is not None
    assert asked.response_format["json_schema"] == {"name": "oil", "schema": SCHEMA, "strict": True}
    assert asked.ignored == ()


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_a_tool_that_may_be_left_alone_is_none(choice: str | None) -> None:
    assert convert_forced_tool(body(tools=[OIL], tool_choice=choice)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [OIL, WIND], "tool_choice": "required"},
        {"tools": [WIND], "tool_choice": NAMED},
        {"tool_choice": "required"},
        {"tools": "oil", "tool_choice": NAMED},
    ],
)
def test_what_cannot_be_followed_names_the_other_way(fields: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="response_format") as refused:
        convert_forced_tool(body(**fields))
    assert (refused.value.status, refused.value.param) == (400, "tool_choice")


def answered(choice: dict[str, Any]) -> dict[str, Any]:
    carried = convert_forced_tool(body(tools=[OIL], tool_choice="required"))
    assert carried is not None
    return dict(carried.answer_converter.convert_answer(WHOLE | {"choices": [choice]}))


def test_the_answer_is_what_the_client_parses() -> None:
    written = {"role": "assistant", "content": '{"drops": 1}'}
    choice = {"index": 0, "finish_reason": "stop", "message": written}
    told = answered(choice)
    parsed = ChatCompletion.model_validate(told).choices[0]
    assert (parsed.finish_reason, parsed.message.content) == ("tool_calls", None)
    (call,) = parsed.message.tool_calls or []
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == (
        "call_7",
        "oil",
        '{"drops": 1}',
    )
    assert told["twin"] == WHOLE["twin"]
    assert answered(choice | {"finish_reason": "length"})["choices"][0]["finish_reason"] == "length"


def test_a_stream_is_what_the_client_puts_together() -> None:
    carried = convert_forced_tool(body(tools=[OIL], tool_choice="required", stream=True))
    assert carried is not None
    pieces = [chunk({"role": "assistant", "content": '{"drops"'}), chunk({"content": ": 1}"})]
    pieces += [chunk({}, "stop"), {"error": {"message": "m"}}]
    events = [event for piece in pieces for event in carried.answer_converter.convert_chunk(piece)]
    assert [*carried.answer_converter.end_events()] == ["data: [DONE]\n\n"]
    told = [json.loads(event.removeprefix("data: ")) for event in events]
    assert told.pop() == {"error": {"message": "m"}}
    choices = [ChatCompletionChunk.model_validate(one).choices[0] for one in told]
    calls = [call for choice in choices for call in choice.delta.tool_calls or []]
    assert calls[0].function is not None
    assert calls[0].function.name == "oil"
    assert "".join(call.function.arguments or "" for call in calls if call.function) == (
        '{"drops": 1}'
    )
    assert choices[-1].finish_reason == "tool_calls"
