"""Which form of an answer a client may ask for, and what becomes of the request."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.access.keys import NO_LIMITS, Key
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.authors.guard_settings import Guards
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.found_passages import PassageFinder
from twin_resources.gateway.request.prompt_classes import STRUCTURED
from twin_resources.gateway.request.request_body import (
    ChatRequest,
    admit_body,
    decode_object,
    read_question,
)
from twin_resources.gateway.request.response_format import (
    MAX_PROPERTIES,
    MAX_REPETITIONS,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_LEVELS,
    build_document,
    read_response_format,
    supports_response_format,
    unenforceable_format_refusal,
)
from twin_resources.gateway.routing.snapshot import Server, Snapshot
from twin_resources.gateway.stages.request_path import RequestPath
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion
from twin_resources.registry.route_names import PAID
from twin_resources.settings import Settings

KEY = Key("0123456789abcdef", "reader", frozenset({"*"}), "all", limits=NO_LIMITS)
RATING: dict[str, Any] = {
    "type": "object",
    "properties": {"style": {"type": "integer", "enum": [1, 2, 3]}},
    "required": ["style"],
    "additionalProperties": False,
}


def by_schema(schema: object, **fields: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema} | fields}


def nested(levels: int) -> dict[str, Any]:
    """A schema of exactly so many levels."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels - 1):
        schema = {"not": schema}
    return schema


def ask(form: object, model: str = "twin/ann") -> ChatRequest:
    turns = [{"role": "user", "content": "Why brass?"}]
    body = {"model": model, "messages": turns, "response_format": form}
    return read_question(admit_body(decode_object(json.dumps(body).encode())))


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_object"},
        by_schema(RATING),
        by_schema(RATING, strict=True, description="A rating."),
        by_schema({}),
        by_schema({"properties": {"pattern": {"type": "string"}, "maxItems": {}}}),
        by_schema({"$defs": {"a": RATING}, "$ref": "#/$defs/a"}),
        by_schema(nested(MAX_SCHEMA_LEVELS)),
        by_schema({"type": "array", "maxItems": MAX_REPETITIONS}),
        by_schema({"properties": {f"p{number}": {} for number in range(MAX_PROPERTIES)}}),
    ],
)
def test_json_is_asked_for_as_it_was_sent(form: dict[str, Any]) -> None:
    asked = ask(form)
    assert asked.response_format == form
    assert asked.prompt_class == STRUCTURED


@pytest.mark.parametrize("form", [None, {"type": "text"}])
def test_text_is_nothing_special(form: object) -> None:
    asked = ask(form)
    assert (asked.response_format, asked.prompt_class) == (None, "explanation")


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("json", "a str"),
        ([], "a list"),
        ({}, "the type None"),
        ({"type": "xml"}, "the type 'xml'"),
        ({"type": ["text"]}, "the type"),
        ({"type": "json_object", "schema": RATING}, "'schema' with the type json_object"),
        ({"type": "text", "json_schema": {}}, "'json_schema' with the type text"),
        ({"type": "json_schema"}, "no object under json_schema"),
        ({"type": "json_schema", "json_schema": RATING}, "'additionalProperties' in json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": RATING}}, "the name None"),
        (by_schema(RATING, name="a rating"), "the name 'a rating'"),
        (by_schema(RATING, name="x" * 65), "the name"),
        (by_schema(RATING, strict="yes"), "strict = 'yes'"),
        (by_schema(RATING, description=1), "a description that is not text"),
        (by_schema(RATING, lora=1), "'lora' in json_schema"),
        (by_schema(True), "a schema that is not an object"),
        (by_schema(None), "a schema that is not an object"),
        (by_schema({"const": "x" * MAX_SCHEMA_BYTES}), "bytes"),
        (by_schema(nested(MAX_SCHEMA_LEVELS + 1)), "levels"),
        (by_schema({"type": "array", "maxItems": MAX_REPETITIONS + 1}), "maxItems = 1001"),
        (by_schema({"anyOf": [{"type": "string", "minLength": 1e9}]}), "minLength"),
        (by_schema({"items": {"type": "string", "pattern": "^(a?){100}$"}}), "a pattern"),
        (by_schema({"$ref": "https://example.com/x.json"}), "the reference 'https"),
        (by_schema({"properties": {f"p{number}": {} for number in range(201)}}), "201 keys"),
    ],
)
def test_anything_else_is_a_400_that_says_what_is_wrong(form: object, said: str) -> None:
    with pytest.raises(RefusedError) as caught:
        ask(form)
    refused = caught.value
    assert (refused.status, refused.param) == (400, "response_format")
    assert said in refused.found
    assert refused.next_step


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=20,
)


@given(_JSON | _JSON.map(by_schema) | _JSON.map(lambda found: by_schema({"items": found})))
def test_whatever_is_sent_is_taken_or_refused(form: object) -> None:
    found: object
    try:
        found = read_response_format(form) or form
    except RefusedError as error:
        found = form if (error.status, error.param) == (400, "response_format") else error
    assert found is form


@pytest.mark.parametrize(
    ("said", "told"),
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
def test_a_servers_refusal_goes_on_without_its_address(said: str, told: str) -> None:
    refused = unenforceable_format_refusal("twin/ann", said)
    assert refused.status == 400
    assert refused.found == f"its server does not accept this response_format ({told})"


def test_what_litellm_knows_of_a_model_decides_whether_it_is_asked() -> None:
    assert supports_response_format("openai/gpt-4o-mini")
    assert supports_response_format("anthropic/claude-3-5-haiku-latest")
    assert not supports_response_format("openai/gpt-4")
    assert not supports_response_format("no-provider-of-this-name/model")


TEXT = (
    "This twin does not answer a question that contains terms that its author does not discuss "
    "here."
)
FREE: dict[str, Any] = {"type": "string"}


def of(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        (of(["answer"], title=FREE, answer=FREE), {"answer": TEXT}),
        (of([], title=FREE), {"title": TEXT}),
        (of(["a", "b", "c"], a=FREE, b=FREE, c={"type": "array"}), {"a": TEXT, "b": "", "c": []}),
        (of(["a", "b"], a={"type": "string", "maxLength": 9}, b=FREE), {"a": "", "b": TEXT}),
        (
            of(["n", "a"], n={"anyOf": [{"type": "integer"}, {"type": "null"}]}, a=FREE),
            {"n": None, "a": TEXT},
        ),
        (of(["n", "a"], n={"type": ["null", "number"]}, a=FREE), {"n": None, "a": TEXT}),
        (
            of(["it"], it={"$ref": "#/$defs/It"}) | {"$defs": {"It": of(["a"], a=FREE)}},
            {"it": {"a": TEXT}},
        ),
        (of(["it"], it={"allOf": [of(["a"], a=FREE)], "description": "x"}), {"it": {"a": TEXT}}),
    ],
)
def test_a_fixed_text_stands_in_a_string_of_the_schema(
    schema: dict[str, Any], document: dict[str, Any]
) -> None:
    found = json.loads(build_document(TEXT, by_schema(schema)))
    jsonschema.validate(found, schema)
    assert found == document


@pytest.mark.parametrize(
    "schema",
    [
        RATING,
        of(["a", "n"], a=FREE, n={"type": "integer"}),
        of(["a", "yes"], a=FREE, yes={"type": "boolean"}),
        of(["a", "b"], a=FREE, b={"type": "string", "enum": ["yes", "no"]}),
        of(["a"], a={"type": "string", "format": "date"}),
        of(["a"], a={"$ref": "#"}),
        of(["a"], a={"$ref": "#/$defs/none"}),
        {"type": "object", "properties": [1], "required": 2},
        {},
    ],
)
def test_a_schema_without_a_free_string_holds_no_text(schema: dict[str, Any]) -> None:
    assert build_document(TEXT, by_schema(schema)) == ""


async def test_a_blocked_question_is_declined_in_the_form_that_was_forced(home: Settings) -> None:
    async def declined(form: object) -> str:
        turns = [{"role": "user", "content": "What of politics?"}]
        body = {"model": "twin/ann", "messages": turns, "response_format": form}
        prepared = await prepare(home, read_question(admit_body(body)), takes_json=True)
        return prepared.exchange.fixed_answer

    assert json.loads(await declined(by_schema(of(["a"], a=FREE)))) == {"a": TEXT}
    assert json.loads(await declined({"type": "json_object"})) == {"answer": TEXT}
    with pytest.raises(RefusedError, match="does not answer") as caught:
        await declined(by_schema(RATING))
    refused = caught.value
    assert (refused.status, refused.code, refused.param) == (
        400,
        "question_refused",
        "response_format",
    )


class NothingFound:
    passages = ()
    nearest = ()
    reason = ""
    vector = None
    embedder = embedder_revision = ""

    def retrieve(
        self, author: str, question: str, *, token_budget: int, with_tokens: bool
    ) -> NothingFound:
        return self


async def prepare(home: Settings, asked: ChatRequest, *, takes_json: bool) -> RequestRecord:
    """While the stable version has no server, so that the paid model answers where it can."""
    live = LiveConfig(home)
    stable = ServedVersion(3, "hash3", "", "", None, "", "")
    policy = AuthorPolicy(stable=stable, weights={"stable": 1.0})
    server = Server("http://127.0.0.1:1/v1", "base", "", ready=True)
    live.current = Snapshot(
        {"ann": Author("ann", "Ann", guards=Guards(block_list=("politics",)))},
        Policy("", "", {"ann": policy}),
        {"base": server},
        has_paid_route=True,
    )
    opener: Any = NothingFound
    way = RequestPath(live, PassageFinder(opener), usd_per_hour=0.02)
    way.paid_supports_json = takes_json
    return await way.prepare(asked, KEY, today=date(2026, 3, 1))


async def test_a_paid_model_that_takes_json_is_asked_for_it(home: Settings) -> None:
    form = by_schema(RATING)
    answering = await prepare(home, ask(form), takes_json=True)
    assert (answering.decision.route, answering.degraded) == (
        "down:paid",
        ("stable not ready: answered by paid",),
    )
    assert answering.chat_request.prompt_class == STRUCTURED


async def test_one_that_takes_none_is_passed_over_and_refused_by_name(home: Settings) -> None:
    form = by_schema(RATING)
    answering = await prepare(home, ask(form), takes_json=False)
    assert answering.decision.version == "base"
    assert answering.degraded[0] == "paid, the paid model does not support JSON: answered by base"
    named = "twin/ann@paid"
    with pytest.raises(RefusedError, match="does not support JSON answers") as caught:
        await prepare(home, ask(form, named), takes_json=False)
    assert (caught.value.status, caught.value.param) == (400, "response_format")
    assert (await prepare(home, ask(None, named), takes_json=False)).decision.version == PAID
