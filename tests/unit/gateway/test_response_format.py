"""Test `response_format`: which values are accepted, and how they affect the request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.gateway.exchanges import (
    DAY,
    FakeRetriever,
    create_path,
    read_chat,
)
from twin_resources.access.keys import NO_LIMITS, Key
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.authors.guard_settings import Guards
from twin_resources.gateway.request.prompt_classes import STRUCTURED
from twin_resources.gateway.request.request_body import (
    ChatRequest,
    decode_object,
    split_body,
)
from twin_resources.gateway.request.response_format import (
    MAX_PROPERTIES,
    MAX_REPETITIONS,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_LEVELS,
)
from twin_resources.settings import Settings

KEY = Key("0123456789abcdef", "reader", frozenset({"*"}), "all", limits=NO_LIMITS)
RATING: dict[str, Any] = {
    "type": "object",
    "properties": {"style": {"type": "integer", "enum": [1, 2, 3]}},
    "required": ["style"],
    "additionalProperties": False,
}


def json_schema(schema: object, **fields: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema} | fields}


def nested_schema(levels: int) -> dict[str, Any]:
    """Return a schema with this number of levels."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels - 1):
        schema = {"not": schema}
    return schema


def read_request(response_format: object, model: str = "twin/ann") -> ChatRequest:
    turns = [{"role": "user", "content": "Why brass?"}]
    body = {"model": model, "messages": turns, "response_format": response_format}
    return read_chat(decode_object(json.dumps(body).encode()))


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_object"},
        json_schema(RATING),
        json_schema(RATING, strict=True, description="A rating."),
        json_schema({}),
        json_schema({"properties": {"pattern": {"type": "string"}, "maxItems": {}}}),
        json_schema({"$defs": {"a": RATING}, "$ref": "#/$defs/a"}),
        json_schema(nested_schema(MAX_SCHEMA_LEVELS)),
        json_schema({"type": "array", "maxItems": MAX_REPETITIONS}),
        json_schema({"properties": {f"p{number}": {} for number in range(MAX_PROPERTIES)}}),
    ],
)
def test_a_valid_response_format_is_kept_unchanged(response_format: dict[str, Any]) -> None:
    chat_request = read_request(response_format)
    assert chat_request.response_format == response_format
    assert chat_request.prompt_class == STRUCTURED


@pytest.mark.parametrize("response_format", [None, {"type": "text"}])
def test_the_text_format_is_the_default(response_format: object) -> None:
    chat_request = read_request(response_format)
    assert (chat_request.response_format, chat_request.prompt_class) == (None, "explanation")


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        ("json", "'json'"),
        ([], "[] is not accepted"),
        ({}, "the type None"),
        ({"type": "xml"}, "the type 'xml'"),
        ({"type": ["text"]}, "the type"),
        ({"type": "json_object", "schema": RATING}, "'schema' with the type json_object"),
        ({"type": "text", "json_schema": {}}, "'json_schema' with the type text"),
        ({"type": "json_schema"}, "no schema under json_schema"),
        (json_schema(True), "no schema under json_schema"),
        (json_schema({"const": "x" * MAX_SCHEMA_BYTES}), "bytes"),
        (json_schema(nested_schema(MAX_SCHEMA_LEVELS + 1)), "levels"),
        (json_schema({"type": "array", "maxItems": MAX_REPETITIONS + 1}), "maxItems = 1001"),
        (json_schema({"anyOf": [{"type": "string", "minLength": 1e9}]}), "minLength"),
        (json_schema({"items": {"type": "string", "pattern": "^(a?){100}$"}}), "a pattern"),
        (json_schema({"$ref": "https://example.com/x.json"}), "the reference 'https"),
        (json_schema({"properties": {f"p{number}": {} for number in range(201)}}), "201 keys"),
    ],
)
def test_an_invalid_response_format_is_refused(response_format: object, expected: str) -> None:
    with pytest.raises(RefusedError) as excinfo:
        read_request(response_format)
    error = excinfo.value
    assert (error.status, error.param) == (400, "response_format")
    assert expected in str(error)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=20,
)


@given(_JSON | _JSON.map(json_schema) | _JSON.map(lambda schema: json_schema({"items": schema})))
def test_any_json_value_is_accepted_or_refused(response_format: object) -> None:
    try:
        body = {"model": "twin/ann", "response_format": response_format}
        _, parameters = split_body(
            {name: value for name, value in body.items() if value is not None}
        )
        accepted: object = parameters.response_format or response_format
    except RefusedError as error:
        is_expected = (error.status, error.param) == (400, "response_format")
        accepted = response_format if is_expected else error
    assert accepted == response_format


TEXT = (
    "This twin does not answer a question that contains terms that its author does not discuss "
    "here."
)


@pytest.mark.parametrize("response_format", [{"type": "json_object"}, json_schema(RATING)])
async def test_a_blocked_question_is_refused_where_json_is_requested(
    home: Settings, response_format: object
) -> None:
    path = create_path(
        home, FakeRetriever(), author=Author("ann", "Ann", guards=Guards(block_list=("politics",)))
    )
    turns = [{"role": "user", "content": "What of politics?"}]
    body = {"model": "twin/ann", "messages": turns, "response_format": response_format}
    with pytest.raises(RefusedError) as excinfo:
        await path.prepare(read_chat(body), KEY, today=DAY)
    error = excinfo.value
    assert (error.status, error.code, error.param) == (400, "question_refused", "response_format")
    assert str(error).startswith(TEXT)
