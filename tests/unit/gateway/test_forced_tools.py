"""Test the conversion of forced tools to JSON requests and of the JSON to tool calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.unit.gateway.test_other_apis import CHAT_ANSWER, create_chunk
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.forced_tools import convert_forced_tool
from twin_resources.gateway.request.request_body import admit_body, read_question

SCHEMA = {"type": "object", "properties": {"drops": {"type": "integer"}}}
OIL = {"type": "function", "function": {"name": "oil", "parameters": SCHEMA, "strict": True}}
WIND = {"type": "function", "function": {"name": "wind"}}
NAMED = {"type": "function", "function": {"name": "oil"}}


def create_body(**fields: Any) -> dict[str, Any]:
    return {"model": "twin/ann", "messages": [{"role": "user", "content": "How much?"}]} | fields


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [OIL], "tool_choice": "required"},
        {"tools": [OIL, WIND], "tool_choice": NAMED, "parallel_tool_calls": False},
    ],
)
def test_a_forced_tool_becomes_a_response_format(fields: dict[str, Any]) -> None:
    converted = convert_forced_tool(create_body(**fields))
    assert converted is not None
    request = read_question(admit_body(converted.chat, extra_ignored=converted.ignored))
    assert request.response_format is not None
    assert request.response_format["json_schema"] == {
        "name": "oil",
        "schema": SCHEMA,
        "strict": True,
    }
    assert request.ignored == ()


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_an_optional_tool_is_not_converted(choice: str | None) -> None:
    assert convert_forced_tool(create_body(tools=[OIL], tool_choice=choice)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [OIL, WIND], "tool_choice": "required"},
        {"tools": [WIND], "tool_choice": NAMED},
        {"tool_choice": "required"},
        {"tools": "oil", "tool_choice": NAMED},
    ],
)
def test_the_refusal_of_an_unsupported_choice_names_response_format(fields: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="response_format") as excinfo:
        convert_forced_tool(create_body(**fields))
    assert (excinfo.value.status, excinfo.value.param) == (400, "tool_choice")


def convert_choice(choice: dict[str, Any]) -> dict[str, Any]:
    converted = convert_forced_tool(create_body(tools=[OIL], tool_choice="required"))
    assert converted is not None
    return dict(converted.answer_converter.convert_answer(CHAT_ANSWER | {"choices": [choice]}))


def test_the_official_client_can_parse_the_answer() -> None:
    message = {"role": "assistant", "content": '{"drops": 1}'}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    document = convert_choice(choice)
    parsed = ChatCompletion.model_validate(document).choices[0]
    assert (parsed.finish_reason, parsed.message.content) == ("tool_calls", None)
    (call,) = parsed.message.tool_calls or []
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == (
        "call_7",
        "oil",
        '{"drops": 1}',
    )
    assert document["twin"] == CHAT_ANSWER["twin"]
    assert (
        convert_choice(choice | {"finish_reason": "length"})["choices"][0]["finish_reason"]
        == "length"
    )


def test_the_official_client_can_parse_the_stream() -> None:
    converted = convert_forced_tool(create_body(tools=[OIL], tool_choice="required", stream=True))
    assert converted is not None
    chunks = [
        create_chunk({"role": "assistant", "content": '{"drops"'}),
        create_chunk({"content": ": 1}"}),
    ]
    chunks += [create_chunk({}, "stop"), {"error": {"message": "m"}}]
    events = [
        event for chunk in chunks for event in converted.answer_converter.convert_chunk(chunk)
    ]
    assert [*converted.answer_converter.end_events()] == [b"data: [DONE]\n\n"]
    documents = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert documents.pop() == {"error": {"message": "m"}}
    choices = [ChatCompletionChunk.model_validate(document).choices[0] for document in documents]
    calls = [call for choice in choices for call in choice.delta.tool_calls or []]
    assert calls[0].function is not None
    assert calls[0].function.name == "oil"
    assert "".join(call.function.arguments or "" for call in calls if call.function) == (
        '{"drops": 1}'
    )
    assert choices[-1].finish_reason == "tool_calls"
