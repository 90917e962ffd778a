"""Test `response_format`: which values are accepted, and how they affect the request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.gateway.exchanges import (
    DAY,
    SERVER,
    FakeRetriever,
    create_path,
    policy_with_stable,
    read_chat,
)
from twin_resources.access.keys import NO_LIMITS, Key
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import ProseRelease
from twin_resources.authors.guard_settings import Guards
from twin_resources.gateway.exchange.exchange import RequestRecord
from twin_resources.gateway.request.prompt_classes import STRUCTURED
from twin_resources.gateway.request.request_body import (
    ChatRequest,
    decode_object,
)
from twin_resources.gateway.request.response_format import (
    MAX_PROPERTIES,
    MAX_REPETITIONS,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_LEVELS,
    read_response_format,
    supports_response_format,
    unenforceable_format_refusal,
)
from twin_resources.registry.route_names import PAID
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
        ("json", "a str"),
        ([], "a list"),
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
    assert expected in error.found
    assert error.next_step


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=20,
)


@given(_JSON | _JSON.map(json_schema) | _JSON.map(lambda schema: json_schema({"items": schema})))
def test_any_json_value_is_accepted_or_refused(response_format: object) -> None:
    try:
        accepted: object = read_response_format(response_format) or response_format
    except RefusedError as error:
        is_expected = (error.status, error.param) == (400, "response_format")
        accepted = response_format if is_expected else error
    assert accepted is response_format


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "litellm.BadRequestError: OpenAIException - Error code: 400 - {'error': {'code': 400, "
            "'message': 'Unable to generate parser for this template. Automatic parser generation "
            "failed: JSON schema error at #: unrecognized type no', 'type': 'invalid'}}. "
            "Received Model Group=ann/v1",
            "JSON schema error at #: unrecognized type no",
        ),
        (
            "Error code: 400 - {'message': 'Failed to initialize samplers: failed to parse "
            "grammar', 'type': 'invalid_request_error'} http://127.0.0.1:1/v1",
            "failed to parse grammar",
        ),
        ("Error code: 400 - http://127.0.0.1:1/v1", "it gives no reason"),
    ],
)
def test_a_servers_refusal_is_reported_without_its_address(message: str, reason: str) -> None:
    error = unenforceable_format_refusal("twin/ann", message)
    assert error.status == 400
    assert error.found == f"its server does not accept this response_format ({reason})"


def test_litellms_model_data_shows_whether_json_is_supported() -> None:
    assert supports_response_format("openai/gpt-4o-mini")
    assert supports_response_format("anthropic/claude-3-5-haiku-latest")
    assert not supports_response_format("openai/gpt-4")
    assert not supports_response_format("no-provider-of-this-name/model")


TEXT = (
    "This twin does not answer a question that contains terms that its author does not discuss "
    "here."
)


@pytest.mark.parametrize("response_format", [{"type": "json_object"}, json_schema(RATING)])
async def test_a_blocked_question_is_refused_where_json_is_requested(
    home: Settings, response_format: object
) -> None:
    turns = [{"role": "user", "content": "What of politics?"}]
    body = {"model": "twin/ann", "messages": turns, "response_format": response_format}
    with pytest.raises(RefusedError) as excinfo:
        await prepare(home, read_chat(body), paid_supports_json=True)
    error = excinfo.value
    assert (error.status, error.code, error.param) == (400, "question_refused", "response_format")
    assert error.found == TEXT


async def prepare(
    home: Settings, chat_request: ChatRequest, *, paid_supports_json: bool
) -> RequestRecord:
    """Prepare a request whose stable version has no server, so that a paid model may answer."""
    path = create_path(
        home,
        FakeRetriever(),
        author=Author("ann", "Ann", guards=Guards(block_list=("politics",))),
        options={"paid_supports_json": paid_supports_json},
        policy=policy_with_stable(prose=ProseRelease("no gate report")),
        servers={"base": SERVER},
        has_paid_route=True,
    )
    return await path.prepare(chat_request, KEY, today=DAY)


async def test_a_paid_model_that_supports_json_answers(home: Settings) -> None:
    response_format = json_schema(RATING)
    prepared = await prepare(home, read_request(response_format), paid_supports_json=True)
    assert (prepared.decision.route, prepared.degraded) == (
        "down:paid",
        ("stable not ready: answered by paid",),
    )
    assert prepared.chat_request.prompt_class == STRUCTURED


async def test_a_paid_model_without_json_is_skipped_or_refused(home: Settings) -> None:
    response_format = json_schema(RATING)
    prepared = await prepare(home, read_request(response_format), paid_supports_json=False)
    assert prepared.decision.version == "base"
    assert prepared.degraded[0] == "paid, the paid model does not support JSON: answered by base"
    model = "twin/ann@paid"
    with pytest.raises(RefusedError, match="does not support JSON answers") as excinfo:
        await prepare(home, read_request(response_format, model), paid_supports_json=False)
    assert (excinfo.value.status, excinfo.value.param) == (400, "response_format")
    assert (
        await prepare(home, read_request(None, model), paid_supports_json=False)
    ).decision.version == PAID
