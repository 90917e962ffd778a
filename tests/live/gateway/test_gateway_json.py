"""A client that asks the running gateway for JSON gets JSON, of its schema, from the base model."""

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
FORM: Any = {"type": "json_schema", "json_schema": {"name": "rating", "schema": SCHEMA}}


def check(text: str) -> None:
    """Hold an answer against `SCHEMA`."""
    found = json.loads(text)
    assert set(found) == {"accuracy", "style", "reason"}
    assert {found["accuracy"], found["style"]} <= {1, 2, 3, 4, 5}
    assert isinstance(found["reason"], str)
    assert len(found["reason"]) <= 40


def test_an_answer_is_json_of_the_schema(base_model: Stack) -> None:
    asked: dict[str, Any] = {"model": "twin/ann", "messages": QUESTION, "max_tokens": 120}
    create = base_model.client().chat.completions.create

    answer = create(**asked, response_format=FORM)
    check(answer.choices[0].message.content or "")
    twin = (answer.model_extra or {})["twin"]
    assert (twin["version"], twin["degraded"]) == ("base", "")
    assert twin["sources"]

    chunks = list(create(**asked, response_format=FORM, stream=True))
    check("".join(chunk.choices[0].delta.content or "" for chunk in chunks))
    assert (chunks[-1].model_extra or {})["twin"]["version"] == "base"

    anything = create(**asked, response_format={"type": "json_object"})
    said = anything.choices[0].message.content or ""
    if anything.choices[0].finish_reason == "stop":  # else it ran into max_tokens
        assert isinstance(json.loads(said), dict)
    assert said.lstrip().startswith("{")

    with pytest.raises(json.JSONDecodeError):  # else the tests above would say nothing
        json.loads(create(**asked).choices[0].message.content or "")

    trace = base_model.trace(twin["trace_id"])
    recorded = json.dumps(trace)
    assert "structured" in recorded
    assert "json_schema" in recorded
    assert "maxLength" not in recorded


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"type": "xml"}, "the type 'xml'"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "a schema that is not an object"),
        # right by its shape, and refused by who compiles it
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no"}}}, "schema"),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/a"}}},
            "schema",
        ),
    ],
)
def test_a_form_that_nobody_can_keep_is_the_clients_error(
    base_model: Stack, form: Any, words: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        base_model.client().chat.completions.create(
            model="twin/ann", messages=QUESTION, response_format=form
        )
    assert words in str(refused.value)
    assert "response_format" in str(refused.value)
    answer = base_model.post({"model": "twin/ann", "messages": QUESTION, "max_tokens": 3})
    assert answer.status_code == 200
