"""Check `response_format`: text, JSON, or JSON with a schema, which the model's server keeps to.

The bounds protect that server, which all readers of an author share and which answers nobody while
it compiles a schema (llama.cpp makes a grammar of it:
https://github.com/ggml-org/llama.cpp/tree/master/grammars). With xllamacpp 2026.10 on a shared
core, an object of 200 optional properties took 0.1 s, one of 600 took 8 s, and one of 1,300 took
30 s. Patterns are refused: `^(a?){100}$` took 3.5 s, and 500 of them had not finished after 60 s.
The server silently skips a pattern that it cannot compile.
Format: https://platform.openai.com/docs/guides/structured-outputs
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

MAX_SCHEMA_BYTES = 16 * 1024
MAX_SCHEMA_LEVELS = 32  # nested objects and lists; OpenAI's ten schema levels are about 30
MAX_PROPERTIES = 200  # keys of one object
MAX_REPETITIONS = 1000
_REPETITIONS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def check_response_format(response_format: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the requested JSON format, or None for text.

    Raises:
        ValueError: the format is invalid, or its schema exceeds the bounds.
    """
    format_type = response_format.get("type")
    if format_type not in ("text", "json_object", "json_schema"):
        raise ValueError(f"the type {format_type!r} is not text, json_object or json_schema")
    has_schema = format_type == "json_schema"
    for key in response_format:
        if key != "type" and not (has_schema and key == "json_schema"):
            raise ValueError(
                f"the key {key!r} with the type {format_type} has no meaning; a schema stands "
                "under json_schema, with the type json_schema"
            )
    if has_schema:
        named_schema = response_format.get("json_schema")
        fields = cast("dict[str, Any]", named_schema) if isinstance(named_schema, dict) else {}
        if not isinstance(fields.get("schema"), dict):
            raise ValueError('no schema under json_schema, such as {"type": "object", …}')
        _check_schema(fields["schema"])
    return None if format_type == "text" else response_format


def _check_schema(schema: Mapping[str, Any]) -> None:
    size = len(json.dumps(schema))
    if size > MAX_SCHEMA_BYTES:
        raise ValueError(f"a schema of {size:,} bytes is larger than {MAX_SCHEMA_BYTES:,}")
    level: list[Any] = [schema]
    for _ in range(MAX_SCHEMA_LEVELS):
        objects: list[dict[str, Any]] = [node for node in level if isinstance(node, dict)]
        for node in objects:
            if len(node) > MAX_PROPERTIES:
                raise ValueError(f"{len(node):,} keys in one object are more than {MAX_PROPERTIES}")
            if isinstance(node.get("pattern"), str):  # otherwise it is a property of that name
                raise ValueError("a pattern; omit it, and check the answer against it yourself")
            reference = node.get("$ref")
            if isinstance(reference, str) and not reference.startswith("#"):
                raise ValueError(f"the reference {reference!r:.80} leads out of the schema")
            for name in _REPETITIONS:
                count = node.get(name)
                if isinstance(count, int | float) and count > MAX_REPETITIONS:
                    raise ValueError(f"{name} = {count!r} is more than {MAX_REPETITIONS:,}")
        lists: list[list[Any]] = [node for node in level if isinstance(node, list)]
        level = [value for node in objects for value in node.values()]
        level += [value for node in lists for value in node]
    if {type(node) for node in level} & {dict, list}:
        raise ValueError(f"a schema with more than {MAX_SCHEMA_LEVELS} levels; make it flatter")
