"""Test which bodies are allowed, and how messages become question, history and search text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.gateway.exchanges import read_chat
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.request.request_body import (
    CONTINUED_ANSWER,
    MAX_BODY_BYTES,
    MAX_QUESTION_CHARACTERS,
    MAX_SEED,
    ChatRequest,
    decode_object,
    split_body,
)
from twin_resources.models.retrieval.page_ranking import Page


def make_body(**fields: Any) -> dict[str, Any]:
    return {"model": "twin/ann", "messages": [{"role": "user", "content": "Why?"}]} | fields


def read_body(**fields: Any) -> ChatRequest:
    return read_chat(decode_object(json.dumps(make_body(**fields)).encode()))


def get_refusal(raw: bytes | dict[str, Any]) -> RefusedError:
    encoded = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    with pytest.raises(RefusedError) as excinfo:
        read_chat(decode_object(encoded))
    return excinfo.value


@pytest.mark.parametrize(
    "key",
    ["lora", "extra_body", "api_base", "base_url", "api_key", "litellm_metadata", "audio",
     "mock_response", "extra_headers", "fallbacks", "cache", "user_config"],
)  # fmt: skip
def test_a_key_that_no_twin_reads_is_named_and_does_not_reach_litellm(key: str) -> None:
    assert read_body(**{key: 1}).ignored == (key,)
    assert read_body(**{key: None}).ignored == ()
    assert split_body(make_body(**{key: 1}))[0] == make_body()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b" " * (MAX_BODY_BYTES + 1), 413),
        (b"[" * 100_000, 400),
        (b'{"seed": ' + b"9" * 5000 + b"}", 400),
    ],
)
def test_a_body_that_is_not_an_object_is_refused(raw: bytes, status: int) -> None:
    assert get_refusal(raw).status == status


@pytest.mark.parametrize(
    "model", ["gpt-4", "base", "ann/v1", "twin/", "twin/ann@v1", "twin/../bob", "twin/Ann", None, 7]
)
def test_other_model_names_are_refused(model: object) -> None:
    error = get_refusal(make_body(model=model))
    assert (error.status, error.param) == (404, "model")


def test_alias_and_author_are_read_from_the_name() -> None:
    request = read_body(model="twin/jose-nunez@canary")
    assert (request.author, request.alias) == ("jose-nunez", "canary")


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "text",
        ["text"],
        [{"role": "system", "content": "Obey me"}],
        [{"role": "tool", "content": "4", "tool_call_id": "a"}],
        [{"role": "assistant", "content": "y"}],
        [{"role": "critic", "content": "y"}, {"role": "user", "content": "x"}],
        [{"role": "user", "content": "   "}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [{"role": "user", "content": {"text": "x"}}],
        [{"role": "user", "content": [{"type": "text", "text": 7}]}],
    ],
)
def test_invalid_messages_are_refused(messages: object) -> None:
    error = get_refusal(make_body(messages=messages))
    assert (error.status, error.param) == (400, "messages")


def test_text_parts_are_joined_and_stripped() -> None:
    parts = [{"type": "text", "text": " one"}, {"type": "text", "text": "two "}]
    assert read_body(messages=[{"role": "user", "content": parts}]).question == "one\ntwo"


def test_the_search_text_is_the_question_and_the_previous_turn() -> None:
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "second"},
        {"role": "user", "content": "third"},
        {"role": "user", "content": "fourth"},
    ]
    request = read_body(messages=turns)
    assert request.question == "fourth"
    assert request.search_text == "fourth\nthird"
    assert [turn["content"] for turn in request.history] == ["first", "answer", "second", "third"]


@pytest.mark.parametrize(
    "question", ["Which oil?", "Tell me about oil", "時計の油について", "زيت؟"]
)
def test_requests_to_continue_are_not_searched_for(question: str) -> None:
    turns = (
        "How do I carry a clock?",
        "Lift it.",
        question,
        "One drop.",
        "Go on.",
        "So.",
        "Weiter.",
    )
    messages = [
        {"role": ("user", "assistant")[number % 2], "content": turn}
        for number, turn in enumerate(turns)
    ]
    request = read_chat({"model": "twin/ann", "messages": messages})
    assert request.search_text == f"Weiter.\n{question}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", -0.1),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("seed", "x"),
        ("seed", -2),
        ("seed", MAX_SEED + 1),
        ("seed", 10**29),
        ("stop", ["a"] * 5),
        ("stop", [""]),
        ("stream", "yes"),
    ],
)
def test_invalid_parameters_are_refused(name: str, value: object) -> None:
    error = get_refusal(make_body(**{name: value}))
    assert (error.status, error.param) == (400, name)


def test_sampling_parameters_are_passed_on() -> None:
    request = read_body(temperature=0, max_completion_tokens=5, stop="x", seed=3, top_p=None)
    assert request.sampling == {"temperature": 0, "max_tokens": 5, "stop": ["x"], "seed": 3}


def test_values_above_a_limit_are_reduced_and_reported() -> None:
    request = read_body(
        messages=[{"role": "user", "content": "Where? " + "x" * 9000 + " Is it oil?"}],
        max_completion_tokens=99999,
        seed=-1,
        top_k=40,
        min_p=0.05,
        repetition_penalty=None,
    )
    assert len(request.question) <= MAX_QUESTION_CHARACTERS + 3
    assert request.question.startswith("Where? x")
    assert request.question.endswith("x Is it oil?")
    assert request.sampling == {"max_tokens": 4096}
    assert request.ignored == (
        "max_tokens above 4,096",
        "min_p",
        "top_k",
        "3,018 characters of the question",
    )


DOCUMENT = "The station has four platforms. " * 100


@pytest.mark.parametrize(
    "message",
    [
        f"Which oil?\n\n{DOCUMENT}",
        f"{DOCUMENT}\n\nWhich oil?",
        f"Which oil?\n<files><file name='a'>{DOCUMENT} Where?</file></files>",
        f"Answer this.\n<context>{DOCUMENT}</context>\n<user_query>Which oil?</user_query>",
        f"Which oil?\n<context>{DOCUMENT * 3}",
    ],
)
def test_a_document_around_the_question_is_not_searched_for(message: str) -> None:
    request = read_body(messages=[{"role": "user", "content": message}])
    assert request.search_texts == ("Which oil?",)


def test_content_other_than_text_is_left_out_and_reported() -> None:
    """A reader who switches to a twin cannot change earlier turns."""
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    request = read_body(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
            {"role": "tool", "content": "a clock", "tool_call_id": "a"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot say."}]},
            {"role": "user", "content": "Which oil?"},
            {"role": "assistant", "content": "A light"},
        ]
    )
    assert request.question == "Which oil?"
    assert [turn["content"] for turn in request.history] == ["What is this?", "I cannot say."]
    assert request.ignored == ("image_url", "tool messages", CONTINUED_ANSWER)


def test_system_messages_are_separate_from_the_conversation() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "developer", "content": [{"type": "text", "text": "Speak German."}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": "Why?"},
    ]
    request = read_body(messages=turns)
    assert request.system == "Be brief.\n\nSpeak German."
    assert (request.question, request.search_text) == ("Why?", "Why?\nfirst")
    assert [turn["content"] for turn in request.history] == ["first"]


def test_parameters_without_effect_are_reported() -> None:
    tool = {"type": "function", "function": {"name": "clock", "parameters": {}}}
    request = read_body(
        n=1,
        logprobs=False,
        logit_bias={},
        store=True,
        metadata={"chat": "7", "model_group": "bob/v1"},
        tools=[tool],
        tool_choice="auto",
        functions=None,
    )
    assert (request.ignored, request.user) == (("metadata", "store", "tools"), "")


def test_metadata_marks_a_batch_request() -> None:
    assert not read_body(metadata={"chat": "7"}).is_batch
    assert not read_body(metadata={"twin.batch": True}).is_batch
    batch = read_body(metadata={"twin.batch": "true"})
    assert (batch.is_batch, batch.ignored) == (True, ())
    assert read_body(metadata={"twin.batch": "true", "chat": "7"}).ignored == ("metadata",)


def test_metadata_names_the_page_of_the_question() -> None:
    assert read_body(metadata={"chat": "7", "twin.page": ""}).page is None
    metadata = {"twin.page": "https://a.example/oil", "twin.page_title": "Oil" * 200}
    request = read_body(metadata=metadata)
    assert request.page == Page("https://a.example/oil", ("Oil" * 200)[:512])
    assert request.ignored == ()


def test_litellm_gets_only_the_names_of_ignored_parameters() -> None:
    """LiteLLM would use metadata for routing, and `user` for its accounts."""
    request_body = make_body(metadata={"model_group": "bob/v1"}, user="eve", n=1, seed=4)
    fields, parameters = split_body(decode_object(json.dumps(request_body).encode()))
    assert (fields, parameters.ignored, parameters.user) == (make_body(), ["metadata"], "eve")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"5": 1}),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "clock"}}),
        ("function_call", {"name": "clock"}),
        ("modalities", ["text", "audio"]),
        ("user", 7),
        ("user", "x" * 201),
    ],
)
def test_unsupported_parameters_that_change_the_answer_are_refused(
    name: str, value: object
) -> None:
    error = get_refusal(make_body(**{name: value}))
    assert (error.status, error.param) == (400, name)
