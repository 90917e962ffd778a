"""Requests of the Responses and the Completions API as chat requests, and the answers back."""

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
from twin_resources.storage.state.state import State

CITED = {"url": "https://x/oil", "title": "On oil", "start_index": 0, "end_index": 9}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
WHOLE: dict[str, Any] = {
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
                "annotations": [{"type": "url_citation", "url_citation": CITED}],
            },
        }
    ],
    "usage": USAGE,
    "twin": {"version": "v1"},
}


def chunk(delta: dict[str, Any], reason: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    head = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1}
    return head | {"model": "twin/ann", "choices": [choice]} | fields


CHUNKS = [
    chunk({"role": "assistant", "content": "One "}),
    chunk({"content": "drop."}),
    chunk(
        {"annotations": [{"type": "url_citation", "url_citation": CITED}]},
        "stop",
        twin={"version": "v1"},
    ),
    chunk({}) | {"choices": [], "usage": USAGE},
]


def events(carried: ConvertedRequest, chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a stream of these chunks becomes, each event held against its own name."""
    told = [
        piece for one in chunks for piece in carried.answer_converter.convert_chunk(one)
    ] + list(carried.answer_converter.end_events())
    documents: list[dict[str, Any]] = []
    for event in told:
        assert event.endswith("\n\n")
        name, _, data = event.rpartition("data: ")
        documents.append({"type": "done"} if data == "[DONE]\n\n" else json.loads(data))
        if name:
            assert name == f"event: {documents[-1]['type']}\n"
    return documents


def asked(carried: ConvertedRequest) -> Any:
    return read_question(admit_body(carried.chat, also_ignored=carried.ignored))


def in_memory() -> RecentResponses:
    return RecentResponses(lambda: State.open("sqlite://"))


def responses(
    *, recent: RecentResponses | None = None, reader: str = "eve", **fields: Any
) -> ConvertedRequest:
    body = {"model": "twin/ann", "input": "Which oil?"} | fields
    return convert_responses_request(body, recent or in_memory(), reader)


def answer(carried: ConvertedRequest, trace_id: str = "7") -> None:
    """The whole answer, as `convert_answers` sends it."""
    carried.answer_converter.convert_answer(WHOLE | {"id": f"chatcmpl-{trace_id}"})
    carried.answer_converter.store_answer()


def completions(**fields: Any) -> ConvertedRequest:
    return convert_completions_request({"model": "twin/ann", "prompt": "Which oil?"} | fields)


def test_a_response_asks_what_the_chat_would() -> None:
    question = asked(
        responses(
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
def test_a_second_message_may_name_the_first_answer(home: Settings, stream: bool) -> None:
    """By the message's id, as the AI SDK does by default, or by the response's; asked of another
    gateway of the home."""
    gateways = [RecentResponses(lambda: State.open(home.state_address)) for _ in range(2)]
    first = responses(recent=gateways[0], stream=stream)
    if stream:
        events(first, CHUNKS)
        first.answer_converter.store_answer()
    else:
        answer(first)
    by_message: dict[str, Any] = {"input": REFERENCE}
    by_response: dict[str, Any] = {"input": "How much?", "previous_response_id": "resp_7"}
    for fields in (by_message, by_response):
        question = asked(responses(recent=gateways[1], **fields))
        assert question.question == "How much?"
        assert [turn["content"] for turn in question.history] == ["Which oil?", "One drop."]
        assert question.ignored == ()
        other = asked(responses(recent=gateways[1], reader="bob", **fields))
        assert "One drop." not in str(other.history), "another reader's answer"
        assert len(other.ignored) == 1


def test_a_long_conversation_is_put_together_and_each_text_is_kept_once() -> None:
    recent = in_memory()
    answer(responses(recent=recent, input="Mail eve.bell@gmail.com: which oil?"), "1")
    asks = {"role": "user", "content": [{"type": "input_text", "text": "How much?"}]}
    reference = {"type": "item_reference", "id": "msg_1"}
    named = [{"role": "user", "content": "And?"}, reference, asks]
    answer(responses(recent=recent, input=named, previous_response_id="resp_1"), "2")
    answer(responses(recent=recent, input="When?", previous_response_id="resp_2"), "3")
    told = [turn["content"] for turn in recent.turns("eve", "3") or ()]
    masked = "Mail [e-mail]: which oil?"
    first_two = [masked, "One drop.", "And?", "One drop.", "How much?", "One drop."]
    assert told == [*first_two, "When?", "One drop."]
    with recent._store.read_transaction() as connection:
        rows = connection.execute(sa.select(recent_responses.gateway_responses)).all()
    assert str(rows).count("One drop.") == 3


def test_an_answer_that_is_gone_is_named_and_the_question_is_answered(home: Settings) -> None:
    now = [0.0]
    recent = RecentResponses(
        lambda: State.open(home.state_address), max_characters=800, clock=lambda: now[0]
    )
    outbox = Outbox(home.home / "outbox.sqlite")

    def kept() -> list[str]:
        asyncio.run(recent.purge_responses(outbox))
        return [one for one in "789" if recent.answer("eve", one) is not None]

    for number in "789":
        now[0] += 1
        answer(responses(recent=recent), number)
    assert kept() == ["8", "9"]
    gone = asked(responses(recent=recent, input="How much?", previous_response_id="resp_7"))
    assert (gone.question, gone.history, gone.ignored) == (
        "How much?",
        (),
        ("previous_response_id",),
    )
    assert asked(responses(recent=recent, previous_response_id="resp_8")).history
    now[0] = 2 + recent_responses.RETENTION_S
    assert kept() == ["9"]
    answer(responses(recent=recent, store=False))
    unknown = asked(responses(recent=recent, input=REFERENCE))
    assert unknown.ignored == ("item_reference",)


def test_without_the_store_an_answer_goes_out_and_none_is_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = RecentResponses(lambda: State.open(f"sqlite:///{tmp_path}"))
    answer(responses(recent=broken))
    assert "an answer was not stored for later requests" in capsys.readouterr().err
    with pytest.raises(RefusedError) as refused:
        responses(recent=broken, previous_response_id="resp_7")
    assert refused.value.status == 503


def test_items_of_another_model_are_named_and_left_out() -> None:
    question = asked(
        responses(
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
    assert [one["content"] for one in question.history] == ["What time is it?", "I cannot tell."]
    assert question.ignored == ("function_call", "function_call_output", "input_image")


def test_a_response_by_a_schema_asks_for_json() -> None:
    schema = {"type": "object", "properties": {"drops": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "oil", "schema": schema, "strict": True}
    question = asked(responses(text={"format": form, "verbosity": "low"}))
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
def test_what_a_response_cannot_give_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as refused:
        responses(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_an_image_and_a_forced_tool_are_refused_as_in_a_chat() -> None:
    image = [{"type": "input_image", "image_url": "data:"}]
    shown: dict[str, Any] = {"input": [{"role": "user", "content": image}]}
    forced: dict[str, Any] = {"tool_choice": "required"}
    for fields in (shown, forced):
        with pytest.raises(RefusedError, match=r"text|tools"):
            asked(responses(**fields))


def test_a_response_in_one_piece_is_what_the_client_parses() -> None:
    told = responses(max_output_tokens=9).answer_converter.convert_answer(WHOLE)
    parsed = Response.model_validate(told)
    assert (parsed.id, parsed.status, parsed.output_text) == ("resp_7", "completed", "One drop.")
    assert parsed.usage is not None
    assert (parsed.usage.input_tokens, parsed.usage.total_tokens) == (5, 7)
    assert told["output"][0]["content"][0]["annotations"] == [{"type": "url_citation", **CITED}]
    assert told["twin"] == {"version": "v1"}


def test_a_response_that_was_cut_off_says_so() -> None:
    choice = WHOLE["choices"][0] | {"finish_reason": "length"}
    told = responses().answer_converter.convert_answer(WHOLE | {"choices": [choice]})
    assert told["status"] == "incomplete"
    assert told["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_streamed_response_has_the_events_in_their_order() -> None:
    carried = responses(stream=True, stream_options={"include_obfuscation": False})
    assert asked(carried).include_usage
    told = events(carried, CHUNKS)
    assert [event["type"] for event in told] == [
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
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert told[-1]["response"] == responses(stream=True).answer_converter.convert_answer(WHOLE)
    assert told[0]["response"]["output"] == []


def test_a_stream_that_breaks_off_ends_with_the_error() -> None:
    error = {"error": {"message": "m", "code": "503", "type": "server_error"}}
    told = events(responses(stream=True), [CHUNKS[0], error])
    assert (told[-1]["type"], told[-1]["message"], told[-1]["code"]) == ("error", "m", "503")


def test_a_completion_asks_what_the_chat_would_and_answers_in_its_own_shape() -> None:
    carried = completions(prompt=["Which oil?"], max_tokens=9, stop=["\n"], echo=False, best_of=1)
    assert asked(carried).sampling == {"max_tokens": 9, "stop": ["\n"]}
    told = carried.answer_converter.convert_answer(WHOLE)
    parsed = Completion.model_validate(told)
    assert (parsed.object, parsed.id) == ("text_completion", "cmpl-7")
    assert (parsed.choices[0].text, parsed.choices[0].finish_reason) == ("One drop.", "stop")
    assert told["twin"] == {"version": "v1"}
    streamed = events(carried, CHUNKS)
    assert "".join(one["choices"][0]["text"] for one in streamed[:3]) == "One drop."
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
def test_what_a_completion_cannot_give_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as refused:
        completions(**fields)
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize("logprobs", [0, 1, 5, True])
def test_a_completion_has_no_log_probabilities(logprobs: object) -> None:
    """lm_eval's measures of likelihood ask for them (`echo`, `logprobs: 1`)."""
    with pytest.raises(RefusedError, match="logprobs"):
        asked(completions(logprobs=logprobs))
