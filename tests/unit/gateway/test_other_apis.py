"""Test the conversion of the Responses and Completions APIs to chat requests and back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from openai.types import Completion
from openai.types.responses import Response

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api import recent_responses
from twin_resources.gateway.api.other_apis import (
    ConvertedRequest,
    convert_completions_request,
    convert_responses_request,
)
from twin_resources.gateway.api.recent_responses import RecentResponses
from twin_resources.gateway.request.request_body import admit_body, read_question
from twin_resources.observability.langfuse.outbox import Outbox
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

CITATION = {"url": "https://x/oil", "title": "On oil", "start_index": 0, "end_index": 9}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
CHAT_ANSWER: dict[str, Any] = {
    "id": "chatcmpl-7",
    "object": "chat.completion",
    "created": 1,
    "model": "twin/ann",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": "One drop.",
                "annotations": [{"type": "url_citation", "url_citation": CITATION}],
            },
        }
    ],
    "usage": USAGE,
    "twin": {"version": "v1"},
}


def create_chunk(delta: dict[str, Any], reason: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    head = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1}
    return head | {"model": "twin/ann", "choices": [choice]} | fields


CHUNKS = [
    create_chunk({"role": "assistant", "content": "One "}),
    create_chunk({"content": "drop."}),
    create_chunk(
        {"annotations": [{"type": "url_citation", "url_citation": CITATION}]},
        "stop",
        twin={"version": "v1"},
    ),
    create_chunk({}) | {"choices": [], "usage": USAGE},
]


def convert_events(request: ConvertedRequest, chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Convert chunks to the documents of the stream's events and check the events' names."""
    converter = request.answer_converter
    events = [event for chunk in chunks for event in converter.convert_chunk(chunk)]
    events += converter.end_events()
    documents: list[dict[str, Any]] = []
    for event in events:
        assert event.endswith(b"\n\n")
        name, _, data = event.decode().rpartition("data: ")
        documents.append({"type": "done"} if data == "[DONE]\n\n" else json.loads(data))
        if name:
            assert name == f"event: {documents[-1]['type']}\n"
    return documents


def read_chat(request: ConvertedRequest) -> Any:
    return read_question(admit_body(request.chat, extra_ignored=request.ignored))


def open_in_memory() -> RecentResponses:
    return RecentResponses(lambda: State.open("sqlite://"))


def responses_request(
    *, recent: RecentResponses | None = None, reader: str = "eve", **fields: Any
) -> ConvertedRequest:
    body = {"model": "twin/ann", "input": "Which oil?"} | fields
    return convert_responses_request(body, recent or open_in_memory(), reader)


def store_answer(request: ConvertedRequest, trace_id: str = "7") -> None:
    """Convert and store a complete answer."""
    request.answer_converter.convert_answer(CHAT_ANSWER | {"id": f"chatcmpl-{trace_id}"})
    request.answer_converter.store_answer()


def completions_request(**fields: Any) -> ConvertedRequest:
    return convert_completions_request({"model": "twin/ann", "prompt": "Which oil?"} | fields)


def test_a_responses_request_becomes_a_chat_request() -> None:
    question = read_chat(
        responses_request(
            instructions="Be brief.",
            input=[
                {"role": "user", "content": "Which oil?"},
                {"id": "rs_1", "type": "reasoning", "summary": []},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "A light one.", "annotations": []}],
                },
                {"role": "user", "content": [{"type": "input_text", "text": "How much?"}]},
            ],
            max_output_tokens=9,
            temperature=0,
            store=False,
            reasoning={"effort": "low"},
            truncation="disabled",
            metadata={"a": "b"},
        )
    )
    assert (question.question, question.system) == ("How much?", "Be brief.")
    assert [turn["content"] for turn in question.history] == ["Which oil?", "A light one."]
    assert question.sampling == {"max_tokens": 9, "temperature": 0}
    assert question.ignored == ("metadata", "reasoning")


REFERENCE = [
    {"role": "user", "content": [{"type": "input_text", "text": "Which oil?"}]},
    {"type": "item_reference", "id": "msg_7"},
    {"role": "user", "content": [{"type": "input_text", "text": "How much?"}]},
]


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_may_refer_to_an_earlier_answer(home: Settings, stream: bool) -> None:
    """The request names the id of the message (as the AI SDK does) or of the response.

    Another gateway process of the home answers it.
    """
    gateways = [RecentResponses(lambda: open_home_state(home)) for _ in range(2)]
    first = responses_request(recent=gateways[0], stream=stream)
    if stream:
        convert_events(first, CHUNKS)
        first.answer_converter.store_answer()
    else:
        store_answer(first)
    by_message: dict[str, Any] = {"input": REFERENCE}
    by_response: dict[str, Any] = {"input": "How much?", "previous_response_id": "resp_7"}
    for fields in (by_message, by_response):
        question = read_chat(responses_request(recent=gateways[1], **fields))
        assert question.question == "How much?"
        assert [turn["content"] for turn in question.history] == ["Which oil?", "One drop."]
        assert question.ignored == ()
        other = read_chat(responses_request(recent=gateways[1], reader="bob", **fields))
        assert "One drop." not in str(other.history), "other readers cannot refer to the answer"
        assert len(other.ignored) == 1


def test_a_conversation_is_reassembled_and_each_text_is_stored_once() -> None:
    recent = open_in_memory()
    store_answer(responses_request(recent=recent, input="Mail eve.bell@gmail.com: which oil?"), "1")
    turn = {"role": "user", "content": [{"type": "input_text", "text": "How much?"}]}
    reference = {"type": "item_reference", "id": "msg_1"}
    items = [{"role": "user", "content": "And?"}, reference, turn]
    store_answer(responses_request(recent=recent, input=items, previous_response_id="resp_1"), "2")
    store_answer(
        responses_request(recent=recent, input="When?", previous_response_id="resp_2"), "3"
    )
    texts = [turn["content"] for turn in recent.load_turns("eve", "3") or ()]
    masked = "Mail [e-mail]: which oil?"
    first_two = [masked, "One drop.", "And?", "One drop.", "How much?", "One drop."]
    assert texts == [*first_two, "When?", "One drop."]
    with recent._store.read_transaction() as connection:
        rows = connection.execute(sa.select(recent_responses.gateway_responses)).all()
    assert str(rows).count("One drop.") == 3


def test_a_reference_to_an_expired_answer_is_reported_as_ignored(home: Settings) -> None:
    now = [0.0]
    recent = RecentResponses(
        lambda: open_home_state(home), max_characters=800, clock=lambda: now[0]
    )
    outbox = Outbox(home.home / "outbox.sqlite")

    def purge_and_list() -> list[str]:
        asyncio.run(recent.purge_responses(outbox))
        return [number for number in "789" if recent.load_answer("eve", number) is not None]

    for number in "789":
        now[0] += 1
        store_answer(responses_request(recent=recent), number)
    assert purge_and_list() == ["8", "9"]
    expired = read_chat(
        responses_request(recent=recent, input="How much?", previous_response_id="resp_7")
    )
    assert (expired.question, expired.history, expired.ignored) == (
        "How much?",
        (),
        ("previous_response_id",),
    )
    assert read_chat(responses_request(recent=recent, previous_response_id="resp_8")).history
    now[0] = 2 + recent_responses.RETENTION_S
    assert purge_and_list() == ["9"]
    store_answer(responses_request(recent=recent, store=False))
    unknown = read_chat(responses_request(recent=recent, input=REFERENCE))
    assert unknown.ignored == ("item_reference",)


def test_without_a_store_answers_are_sent_but_not_found_later(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    unwritable = RecentResponses(lambda: State.open(f"sqlite:///{tmp_path}"))
    store_answer(responses_request(recent=unwritable))
    assert "an answer was not stored for later requests" in capsys.readouterr().err
    with pytest.raises(RefusedError) as excinfo:
        responses_request(recent=unwritable, previous_response_id="resp_7")
    assert excinfo.value.status == 503


def test_unsupported_items_are_ignored_and_reported() -> None:
    question = read_chat(
        responses_request(
            input=[
                {"role": "user", "content": "What time is it?"},
                {"type": "function_call", "name": "clock", "arguments": "{}", "call_id": "1"},
                {"type": "function_call_output", "call_id": "1", "output": "noon"},
                {
                    "role": "assistant",
                    "content": [{"type": "refusal", "refusal": "I cannot tell."}],
                },
                {"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]},
                {"role": "user", "content": "Which oil?"},
            ]
        )
    )
    assert question.question == "Which oil?"
    assert [turn["content"] for turn in question.history] == ["What time is it?", "I cannot tell."]
    assert question.ignored == ("function_call", "function_call_output", "input_image")


def test_a_response_with_a_schema_requests_json() -> None:
    schema = {"type": "object", "properties": {"drops": {"type": "integer"}}}
    response_format = {"type": "json_schema", "name": "oil", "schema": schema, "strict": True}
    question = read_chat(responses_request(text={"format": response_format, "verbosity": "low"}))
    assert question.response_format["json_schema"]["schema"] == schema
    assert question.ignored == ("text.verbosity",)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"input": None}, "input"),
        ({"input": [{}]}, "input"),
        ({"input": [{"type": 7}]}, "input"),
        ({"input": "x", "lora": []}, "lora"),
        ({"text": "json"}, "text"),
    ],
)
def test_an_unsupported_responses_request_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as excinfo:
        responses_request(**fields)
    assert (excinfo.value.status, excinfo.value.param) == (400, param)


def test_images_and_forced_tools_are_refused() -> None:
    image = [{"type": "input_image", "image_url": "data:"}]
    image_input: dict[str, Any] = {"input": [{"role": "user", "content": image}]}
    forced: dict[str, Any] = {"tool_choice": "required"}
    for fields in (image_input, forced):
        with pytest.raises(RefusedError, match=r"text|tools"):
            read_chat(responses_request(**fields))


def test_the_official_client_can_parse_a_complete_response() -> None:
    document = responses_request(max_output_tokens=9).answer_converter.convert_answer(CHAT_ANSWER)
    parsed = Response.model_validate(document)
    assert (parsed.id, parsed.status, parsed.output_text) == ("resp_7", "completed", "One drop.")
    assert parsed.usage is not None
    assert (parsed.usage.input_tokens, parsed.usage.total_tokens) == (5, 7)
    assert document["output"][0]["content"][0]["annotations"] == [
        {"type": "url_citation", **CITATION}
    ]
    assert document["twin"] == {"version": "v1"}


def test_a_truncated_response_is_marked_incomplete() -> None:
    choice = CHAT_ANSWER["choices"][0] | {"finish_reason": "length"}
    document = responses_request().answer_converter.convert_answer(
        CHAT_ANSWER | {"choices": [choice]}
    )
    assert document["status"] == "incomplete"
    assert document["incomplete_details"] == {"reason": "max_output_tokens"}


def test_the_events_of_a_streamed_response_are_in_order() -> None:
    request = responses_request(stream=True, stream_options={"include_obfuscation": False})
    assert read_chat(request).include_usage
    events = convert_events(request, CHUNKS)
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.annotation.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"] == responses_request(stream=True).answer_converter.convert_answer(
        CHAT_ANSWER
    )
    assert events[0]["response"]["output"] == []


def test_an_interrupted_stream_ends_with_the_error() -> None:
    error = {"error": {"message": "m", "code": "503", "type": "server_error"}}
    events = convert_events(responses_request(stream=True), [CHUNKS[0], error])
    assert (events[-1]["type"], events[-1]["message"], events[-1]["code"]) == ("error", "m", "503")


def test_a_completions_request_becomes_a_chat_request_and_back() -> None:
    request = completions_request(
        prompt=["Which oil?"], max_tokens=9, stop=["\n"], echo=False, best_of=1
    )
    assert read_chat(request).sampling == {"max_tokens": 9, "stop": ["\n"]}
    document = request.answer_converter.convert_answer(CHAT_ANSWER)
    parsed = Completion.model_validate(document)
    assert (parsed.object, parsed.id) == ("text_completion", "cmpl-7")
    assert (parsed.choices[0].text, parsed.choices[0].finish_reason) == ("One drop.", "stop")
    assert document["twin"] == {"version": "v1"}
    streamed = convert_events(request, CHUNKS)
    assert "".join(event["choices"][0]["text"] for event in streamed[:3]) == "One drop."
    assert [streamed[2]["choices"][0]["finish_reason"], streamed[2]["twin"]] == [
        "stop",
        {"version": "v1"},
    ]
    assert streamed[3]["usage"] == USAGE
    assert streamed[-1] == {"type": "done"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"echo": True}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"messages": []}, "messages"),
    ],
)
def test_an_unsupported_completions_request_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as excinfo:
        completions_request(**fields)
    assert (excinfo.value.status, excinfo.value.param) == (400, param)


@pytest.mark.parametrize("logprobs", [0, 1, 5, True])
def test_a_completion_has_no_log_probabilities(logprobs: object) -> None:
    """The likelihood tasks of lm_eval request them (`echo`, `logprobs: 1`)."""
    with pytest.raises(RefusedError, match="logprobs"):
        read_chat(completions_request(logprobs=logprobs))
