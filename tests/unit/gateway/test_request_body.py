"""The allow-list of the body, and how a conversation becomes question, history and search text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.request.ignored_parameters import IGNORED_KEYS
from twin_resources.gateway.request.request_body import (
    ADMITTED_KEY,
    ALLOWED_KEYS,
    CONTINUED_ANSWER,
    MAX_BODY_BYTES,
    MAX_QUESTION_CHARACTERS,
    MAX_SEED,
    ChatRequest,
    admit_body,
    decode_object,
    read_question,
)


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "twin/ann", "messages": [{"role": "user", "content": "Why?"}]} | fields


def ask(**fields: Any) -> ChatRequest:
    return read_question(admit_body(decode_object(json.dumps(body(**fields)).encode())))


def refusal(raw: bytes | dict[str, Any]) -> RefusedError:
    encoded = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    with pytest.raises(RefusedError) as caught:
        read_question(admit_body(decode_object(encoded)))
    return caught.value


@pytest.mark.parametrize(
    "key",
    ["lora", "extra_body", "api_base", "base_url", "api_key", "litellm_metadata", "audio",
     "mock_response", "extra_headers", "fallbacks", "cache", "user_config", ADMITTED_KEY],
)  # fmt: skip
def test_a_key_that_is_not_on_the_list_is_named(key: str) -> None:
    refused = refusal(body(**{key: 1}))
    assert (refused.status, refused.code, refused.param) == (400, "key_not_allowed", key)
    assert repr(key) in str(refused)


@given(st.text(min_size=1).filter(lambda key: key not in ALLOWED_KEYS | IGNORED_KEYS))
def test_no_other_key_passes(key: str) -> None:
    assert refusal(body(**{key: 0})).status == 400
    assert key not in admit_body(body(**{key: None})), "null asks for nothing, and goes nowhere"


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
def test_a_body_that_is_no_object_is_refused(raw: bytes, status: int) -> None:
    assert refusal(raw).status == status


@pytest.mark.parametrize(
    "model", ["gpt-4", "base", "ann/v1", "twin/", "twin/ann@v1", "twin/../bob", "twin/Ann", None, 7]
)
def test_only_names_of_twins_are_models(model: object) -> None:
    refused = refusal(body(model=model))
    assert (refused.status, refused.param) == (404, "model")


def test_alias_and_author_are_read_from_the_name() -> None:
    asked = ask(model="twin/jose-nunez@canary")
    assert (asked.author, asked.alias) == ("jose-nunez", "canary")


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
        [{"role": "user", "content": "\ud800"}],
        [{"role": "user", "content": [{"type": "text", "text": 7}]}],
    ],
)
def test_messages_of_a_wrong_shape_are_refused(messages: object) -> None:
    refused = refusal(body(messages=messages))
    assert (refused.status, refused.param) == (400, "messages")


def test_text_parts_are_joined_and_stripped() -> None:
    parts = [{"type": "text", "text": " one"}, {"type": "text", "text": "two "}]
    assert ask(messages=[{"role": "user", "content": parts}]).question == "one\ntwo"


def test_search_text_is_the_question_then_the_readers_earlier_turns() -> None:
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "second"},
        {"role": "user", "content": "third"},
        {"role": "user", "content": "fourth"},
    ]
    asked = ask(messages=turns)
    assert asked.question == "fourth"
    assert asked.search_text == "fourth\nthird"
    assert [turn["content"] for turn in asked.history] == ["first", "answer", "second", "third"]


@pytest.mark.parametrize(
    "question", ["Which oil?", "Tell me about oil", "時計の油について", "زيت؟"]
)
def test_a_turn_that_only_goes_on_is_no_subject_of_a_search(question: str) -> None:
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
    asked = read_question({"model": "twin/ann", "messages": messages})
    assert asked.search_text == f"Weiter.\n{question}"


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
        ("stream_options", {"other": 1}),
        ("stream_options", []),
    ],
)
def test_parameters_out_of_bounds_are_named(name: str, value: object) -> None:
    refused = refusal(body(**{name: value}))
    assert (refused.status, refused.param) == (400, name)


def test_sampling_is_what_was_sent() -> None:
    asked = ask(temperature=0, max_completion_tokens=5, stop="x", seed=3, top_p=None)
    assert asked.sampling == {"temperature": 0, "max_tokens": 5, "stop": ["x"], "seed": 3}


def test_what_is_above_a_limit_is_taken_up_to_it_and_named() -> None:
    asked = ask(
        messages=[{"role": "user", "content": "Where? " + "x" * 9000 + " Is it oil?"}],
        max_completion_tokens=99999,
        seed=-1,
        top_k=40,
        min_p=0.05,
        repetition_penalty=None,
    )
    assert len(asked.question) <= MAX_QUESTION_CHARACTERS + 3
    assert asked.question.startswith("Where? x")
    assert asked.question.endswith("x Is it oil?")
    assert asked.sampling == {"max_tokens": 4096}
    assert asked.ignored == (
        "min_p",
        "top_k",
        "3,018 characters of the question",
        "max_completion_tokens above 4,096",
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
def test_a_question_is_searched_for_without_the_document_around_it(message: str) -> None:
    asked = ask(messages=[{"role": "user", "content": message}])
    assert asked.search_texts == ("Which oil?",)


def test_a_conversation_with_other_than_text_goes_on() -> None:
    """A reader who switches to a twin cannot take back what stands in the conversation."""
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    asked = ask(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]},
            {"role": "tool", "content": "a clock", "tool_call_id": "a"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot say."}]},
            {"role": "user", "content": "Which oil?"},
            {"role": "assistant", "content": "A light"},
        ]
    )
    assert asked.question == "Which oil?"
    assert [turn["content"] for turn in asked.history] == ["What is this?", "I cannot say."]
    assert asked.ignored == ("image_url", "tool messages", CONTINUED_ANSWER)


def test_what_the_program_says_is_apart_from_the_conversation() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "developer", "content": [{"type": "text", "text": "Speak German."}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": "Why?"},
    ]
    asked = ask(messages=turns)
    assert asked.system == "Be brief.\n\nSpeak German."
    assert (asked.question, asked.search_text) == ("Why?", "Why?\nfirst")
    assert [turn["content"] for turn in asked.history] == ["first"]


def test_what_has_no_effect_is_taken_and_named() -> None:
    tool = {"type": "function", "function": {"name": "clock", "parameters": {}}}
    asked = ask(
        n=1,
        logprobs=False,
        logit_bias={},
        store=True,
        metadata={"chat": "7", "model_group": "bob/v1"},
        tools=[tool],
        tool_choice="auto",
        functions=None,
        stream_options={"include_usage": True, "include_obfuscation": False},
    )
    assert asked.ignored == ("metadata", "store", "tools")
    assert (asked.user, asked.include_usage) == ("", True)


def test_a_batch_says_that_no_reader_asks() -> None:
    assert not ask(metadata={"chat": "7"}).is_batch
    assert not ask(metadata={"twin.batch": True}).is_batch
    marked = ask(metadata={"twin.batch": "true"})
    assert (marked.is_batch, marked.ignored) == (True, ())
    assert ask(metadata={"twin.batch": "true", "chat": "7"}).ignored == ("metadata",)


def test_what_litellm_sees_of_them_is_their_names() -> None:
    """LiteLLM would read routing out of a client's metadata, and keep accounts by its `user`."""
    sent = body(metadata={"model_group": "bob/v1"}, user="eve", n=1, seed=4)
    passed = admit_body(decode_object(json.dumps(sent).encode()))
    assert passed == body(seed=4) | {ADMITTED_KEY: {"ignored": ["metadata"], "user": "eve"}}
    assert read_question(passed).user == "eve"
    assert admit_body(decode_object(json.dumps(body(user="", store=False)).encode())) == body()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("n", True),
        ("n", 1.0),
        ("logprobs", True),
        ("logprobs", 0),
        ("top_logprobs", 3),
        ("logit_bias", {"5": 1}),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "clock"}}),
        ("function_call", {"name": "clock"}),
        ("modalities", ["text", "audio"]),
        ("user", 7),
        ("user", "x" * 201),
        ("safety_identifier", "\ud800"),
    ],
)
def test_what_would_change_the_answer_stays_refused(name: str, value: object) -> None:
    refused = refusal(body(**{name: value}))
    assert (refused.status, refused.param) == (400, name)


def test_the_body_of_a_refusal_has_openais_shape() -> None:
    error = refusal(body(lora=[])).body()["error"]
    assert set(error) == {"message", "type", "param", "code"}
