"""Read `response_format`: text, JSON, or JSON with a schema.

Scope: reading the parameter, its bounds, and the paid model's support for it.
Out of scope: enforcing the format, which the model server does (llama.cpp compiles the schema to
a grammar: https://github.com/ggml-org/llama.cpp/tree/master/grammars).

The bounds protect the server that all readers of an author share, because it serves no other
request while it compiles a schema. With xllamacpp 2026.10 on a shared core, an object of 200
optional properties took 0.1 s, one of 600 took 8 s, and one of 1,300 took 30 s. Patterns are
refused: `^(a?){100}$` took 3.5 s, and 500 of them had not finished after 60 s. The server silently
skips a pattern that it cannot compile (a look-ahead, or one without `^` and `$`).
Format: https://platform.openai.com/docs/guides/structured-outputs
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, cast

from twin_resources.access.refusals import RefusedError, bad_request

TEXT, JSON_OBJECT, JSON_SCHEMA = "text", "json_object", "json_schema"
MAX_SCHEMA_BYTES = 16 * 1024
MAX_SCHEMA_LEVELS = 32  # nested objects and lists; OpenAI's ten schema levels are about 30
MAX_PROPERTIES = 200  # keys of one object
MAX_REPETITIONS = 1000
_REPETITIONS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
# Errors of llama.cpp: "JSON schema error at #/…: …", "… failed to parse grammar".
_SCHEMA_ERROR = re.compile(r"""(JSON schema|failed to parse grammar)[^"'{}\\]{0,200}""")


def read_response_format(value: object) -> Mapping[str, Any] | None:
    """Return the requested JSON format, or None for text.

    Raises:
        RefusedError: 400 if the value is invalid, or a schema exceeds the bounds.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        _refuse(f"a {type(value).__name__}", 'send an object such as {"type": "json_object"}')
    response_format = cast("dict[str, Any]", value)
    format_type = response_format.get("type")
    if format_type not in (TEXT, JSON_OBJECT, JSON_SCHEMA):
        _refuse(f"the type {format_type!r}", f"send {TEXT}, {JSON_OBJECT} or {JSON_SCHEMA}")
    allowed_keys = {"type", JSON_SCHEMA} if format_type == JSON_SCHEMA else {"type"}
    if unknown_keys := sorted(set(response_format) - allowed_keys):
        _refuse(
            f"the key {unknown_keys[0]!r} with the type {format_type}",
            f"to send a schema, use the type {JSON_SCHEMA} and the key {JSON_SCHEMA}",
        )
    if format_type == TEXT:
        return None
    if format_type == JSON_SCHEMA:
        _check_named_schema(response_format.get(JSON_SCHEMA))
    return response_format


def supports_response_format(model: str) -> bool:
    """Return whether LiteLLM can request JSON from this model."""
    # Without this variable LiteLLM fetches its map from GitHub at import.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm_module: Any = litellm
    try:
        name, provider, *_ = litellm_module.get_llm_provider(model)
    except litellm_module.BadRequestError:  # LiteLLM does not support this provider
        return False
    return "response_format" in (litellm_module.get_supported_openai_params(name, provider) or ())


def unsupported_format_refusal(model: str) -> RefusedError:
    """Return the refusal of a format that the named model does not support."""
    return bad_request(
        "response_format",
        action=f"answer with {model}",
        found="the paid model does not support JSON answers",
        next_step="omit response_format, or use a different version",
        code="response_format_not_supported",
    )


def unenforceable_format_refusal(model: str, reason: str) -> RefusedError:
    """Return the refusal of a format that a model's server cannot enforce.

    Args:
        reason: the server's error; only its part about the schema is kept, without server names
            and addresses.
    """
    match = _SCHEMA_ERROR.search(reason)
    reason_text = " ".join(match[0].split()) if match else "it gives no reason"
    return bad_request(
        "response_format",
        action=f"answer with {model}",
        found=f"its server does not accept this response_format ({reason_text})",
        next_step="send a simpler schema, or omit response_format",
        code="model_refused",
    )


def _check_named_schema(value: object) -> None:
    schema = cast("dict[str, Any]", value).get("schema") if isinstance(value, dict) else None
    if not isinstance(schema, dict):
        _refuse(f"no schema under {JSON_SCHEMA}", 'send one such as {"type": "object", …}')
    _check_schema(cast("dict[str, Any]", schema))


def _check_schema(schema: Mapping[str, Any]) -> None:
    schema_bytes = len(json.dumps(schema))
    if schema_bytes > MAX_SCHEMA_BYTES:
        _refuse(f"a schema of {schema_bytes:,} bytes", f"send at most {MAX_SCHEMA_BYTES:,}")
    for level, key, value in _iterate_entries(schema):
        if level > MAX_SCHEMA_LEVELS:
            _refuse(
                f"a schema with more than {MAX_SCHEMA_LEVELS} levels",
                "make it flatter, or define repeated parts under $defs",
            )
        if isinstance(value, dict):
            key_count = len(cast("dict[str, Any]", value))
            if key_count > MAX_PROPERTIES:
                _refuse(f"{key_count:,} keys in one object", f"ask for at most {MAX_PROPERTIES}")
        if key == "pattern" and isinstance(value, str):  # otherwise it is a property of that name
            _refuse("a pattern", "omit it, and check the answer against it yourself")
        if key in _REPETITIONS and isinstance(value, int | float) and value > MAX_REPETITIONS:
            _refuse(f"{key} = {value!r}", f"ask for at most {MAX_REPETITIONS:,}")
        if key == "$ref" and isinstance(value, str) and not value.startswith("#"):
            _refuse(
                f"the reference {value!r}"[:100], "refer to parts of the schema: #/$defs/<name>"
            )


def _iterate_entries(schema: Mapping[str, Any]) -> Iterator[tuple[int, str, object]]:
    """Yield every key of every object with its level, from 1, without recursion on deep input."""
    pending_nodes: list[tuple[int, object]] = [(1, schema)]
    while pending_nodes:
        level, node = pending_nodes.pop()
        if isinstance(node, dict):
            for key, value in cast("dict[str, object]", node).items():
                yield level, key, value
                pending_nodes.append((level + 1, value))
        elif isinstance(node, list):
            yield level, "", None
            pending_nodes += [(level + 1, value) for value in cast("list[object]", node)]


def _refuse(found: str, next_step: str) -> NoReturn:
    raise bad_request(
        "response_format", action="read response_format", found=found, next_step=next_step
    )
