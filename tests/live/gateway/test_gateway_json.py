"""Test that a client gets JSON of its schema from the base model through the running gateway."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.live.gateway.stack import Stack

pytestmark = pytest.mark.live

QUESTION = [{"role": "user", "content": "How much oil does a clock need? Rate your own answer."}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "accuracy": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
        "style": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
        "reason": {"type": "string", "maxLength": 40},
    },
    "required": ["accuracy", "style", "reason"],
    "additionalProperties": False,
}
RESPONSE_FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "rating", "schema": SCHEMA}}


def require_schema(text: str) -> None:
    """Require that an answer matches `SCHEMA`."""
    document = json.loads(text)
    assert set(document) == {"accuracy", "style", "reason"}
    assert {document["accuracy"], document["style"]} <= {1, 2, 3, 4, 5}
    assert isinstance(document["reason"], str)
    assert len(document["reason"]) <= 40


def test_an_answer_is_json_of_the_schema(base_stack: Stack) -> None:
    request: dict[str, Any] = {"model": "twin/ann", "messages": QUESTION, "max_tokens": 120}
    create = base_stack.client().chat.completions.create

    answer = create(**request, response_format=RESPONSE_FORMAT)
    require_schema(answer.choices[0].message.content or "")
    twin = (answer.model_extra or {})["twin"]
    assert (twin["version"], twin["degraded"]) == ("base", "")
    assert twin["sources"]

    chunks = list(create(**request, response_format=RESPONSE_FORMAT, stream=True))
    require_schema("".join(chunk.choices[0].delta.content or "" for chunk in chunks))
    assert (chunks[-1].model_extra or {})["twin"]["version"] == "base"

    completion = create(**request, response_format={"type": "json_object"})
    text = completion.choices[0].message.content or ""
    if completion.choices[0].finish_reason == "stop":  # otherwise it reached max_tokens
        assert isinstance(json.loads(text), dict)
    assert text.lstrip().startswith("{")

    # Without a schema the model writes no JSON, so the assertions above are meaningful.
    with pytest.raises(json.JSONDecodeError):
        json.loads(create(**request).choices[0].message.content or "")

    trace = base_stack.trace(twin["trace_id"])
    recorded = json.dumps(trace)
    assert "structured" in recorded
    assert "json_schema" in recorded
    assert "maxLength" not in recorded


@pytest.mark.parametrize(
    ("response_format", "message"),
    [
        ({"type": "xml"}, "the type 'xml'"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "no schema under json_schema"),
        # a valid schema object that the grammar compiler refuses
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no"}}}, "schema"),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/a"}}},
            "schema",
        ),
    ],
)
def test_an_impossible_format_is_the_clients_error(
    base_stack: Stack, response_format: Any, message: str
) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        base_stack.client().chat.completions.create(
            model="twin/ann", messages=QUESTION, response_format=response_format
        )
    assert message in str(error.value)
    assert "response_format" in str(error.value)
    answer = base_stack.post({"model": "twin/ann", "messages": QUESTION, "max_tokens": 3})
    assert answer.status_code == 200
