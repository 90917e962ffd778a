"""The form of an answer that a client may ask for: text, JSON, or JSON by a schema.

Scope: reading `response_format`, its bounds, whether the paid model takes one, and a text of
the program as a document of that form.
Out of scope: holding a model to it; its server does that (llama.cpp compiles the schema to
a grammar: https://github.com/ggml-org/llama.cpp/tree/master/grammars).

The bounds protect the server that all readers of an author share, because it compiles a schema
while everybody else waits (xllamacpp 2026.10, seconds on a shared core): an object of 200 optional
properties takes .1, one of 600 took 8, one of 1,300 took 30. Patterns are refused: `^(a?){100}$`
takes 3.5, five hundred of these had not ended after 60, and what it cannot compile (a look-ahead,
a pattern without `^` and `$`) it skips without a word.
Shape: https://platform.openai.com/docs/guides/structured-outputs
"""
# pyright: strict, reportMissingTypeStubs=false

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, cast

from twin_resources.access.refusals import Refused

TEXT, JSON_OBJECT, JSON_SCHEMA = "text", "json_object", "json_schema"
MAX_SCHEMA_BYTES = 16 * 1024
MAX_SCHEMA_LEVELS = 32  # of objects and lists in each other; OpenAI's ten of a schema are about 30
MAX_PROPERTIES = 200  # keys of one object
MAX_REPETITIONS = 1000
_REPETITIONS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
# What llama.cpp says: "JSON schema error at #/…: …", "… failed to parse grammar".
_OF_SCHEMA = re.compile(r"""(JSON schema|failed to parse grammar)[^"'{}\\]{0,200}""")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ANSWER_KEY = "answer"  # of a fixed text where the client has named no schema
_CANNOT = object()


def read_response_format(value: object) -> Mapping[str, Any] | None:
    """The form that a body asks for; None: text.

    Raises:
        Refused: 400 of another shape, or with a schema beyond the bounds.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        _refuse(f"a {type(value).__name__}", 'send an object as {"type": "json_object"}')
    form = cast("dict[str, Any]", value)
    kind = form.get("type")
    if kind not in (TEXT, JSON_OBJECT, JSON_SCHEMA):
        _refuse(f"the type {kind!r}", f"send {TEXT}, {JSON_OBJECT} or {JSON_SCHEMA}")
    allowed = {"type", JSON_SCHEMA} if kind == JSON_SCHEMA else {"type"}
    if others := sorted(set(form) - allowed):
        _refuse(
            f"the key {others[0]!r} beside the type {kind}",
            f"send a schema by the type {JSON_SCHEMA}, under the key {JSON_SCHEMA}",
        )
    if kind == TEXT:
        return None
    if kind == JSON_SCHEMA:
        _check_named_schema(form.get(JSON_SCHEMA))
    return form


def takes_response_format(model: str) -> bool:
    """Whether LiteLLM knows how to ask this model for JSON."""
    # Without the switch LiteLLM asks GitHub for its map when it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    known: Any = litellm
    try:
        name, provider, *_ = known.get_llm_provider(model)
    except known.BadRequestError:  # a provider that LiteLLM does not know
        return False
    return "response_format" in (known.get_supported_openai_params(name, provider) or ())


def not_taken(model: str) -> Refused:
    """The refusal of a form that the model that was named cannot be asked for."""
    return Refused(
        400,
        "response_format_not_supported",
        tried=f"answer with {model}",
        found="that the paid model cannot be asked for JSON",
        next_step="ask without response_format, or ask another version",
        param="response_format",
    )


def not_kept(model: str, reason: str) -> Refused:
    """The refusal of a form that a model's server cannot hold it to.

    Args:
        reason: the server's error, with names and addresses of servers around it: only what it says
            of the schema goes on.
    """
    match = _OF_SCHEMA.search(reason)
    why = " ".join(match[0].split()) if match else "it does not say why"
    return Refused(
        400,
        "model_refused",
        tried=f"answer with {model}",
        found=f"that its server does not take this response_format ({why})",
        next_step="send a simpler schema, or ask without response_format",
        param="response_format",
    )


def document_of(text: str, form: Mapping[str, Any]) -> str:
    """A text of the program as JSON of the form that the client asked for.

    The text stands in the first string that the schema requires, or else allows. The other required
    fields are null or empty. No number, flag or choice is made up: a client would take it for data.

    Returns:
        The document; empty: the schema has no place for the text.
    """
    if form["type"] == JSON_OBJECT:
        return json.dumps({_ANSWER_KEY: text}, ensure_ascii=False)
    schema: dict[str, Any] = form[JSON_SCHEMA]["schema"]
    value = _holding(text, schema, schema, MAX_SCHEMA_LEVELS)
    return "" if value is _CANNOT else json.dumps(value, ensure_ascii=False)


def _holding(text: str, schema: Any, root: Mapping[str, Any], levels: int) -> Any:
    """The smallest value by the schema that holds the text in one string; an empty text is in the
    smallest of all."""
    if not isinstance(schema, dict) or not levels:
        return _CANNOT
    node = cast("dict[str, Any]", schema)
    if options := _options(node, root):
        values = (_holding(text, option, root, levels - 1) for option in options)
        return next((value for value in values if value is not _CANNOT), _CANNOT)
    kind: Any = node.get("type") or ("object" if "properties" in node else None)
    kinds = cast("list[Any]", kind) if isinstance(kind, list) else [kind]
    if {"enum", "const"} & node.keys():
        return _CANNOT
    if not text and "null" in kinds:
        return None
    if "string" in kinds and "format" not in node:
        shortest, longest = (node.get(name) for name in ("minLength", "maxLength"))
        too_short = isinstance(shortest, int | float) and len(text) < shortest
        too_long = isinstance(longest, int | float) and len(text) > longest
        return _CANNOT if too_short or too_long else text
    if "array" in kinds and not text and not node.get("minItems"):
        return list[Any]()
    return _object_holding(text, node, root, levels - 1) if "object" in kinds else _CANNOT


def _object_holding(text: str, node: dict[str, Any], root: Mapping[str, Any], levels: int) -> Any:
    properties, required = _named(node.get("properties")), _listed(node.get("required"))
    empty = {name: _holding("", properties.get(name), root, levels) for name in required}
    if not text:
        return _CANNOT if _CANNOT in empty.values() else empty
    for name in dict.fromkeys([*(name for name in properties if name in required), *properties]):
        value = _holding(text, properties[name], root, levels)
        document = empty | {name: value}
        if _CANNOT not in document.values():
            return document
    return _CANNOT


def _options(node: Mapping[str, Any], root: Mapping[str, Any]) -> list[Any]:
    """The schemas one of which a value may follow, by a reference or a choice."""
    reference = node.get("$ref")
    if isinstance(reference, str):
        found: Any = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            found = _named(found).get(part)
        return [found]
    every = _listed(node.get("allOf"))
    if len(every) == 1:  # how Pydantic 1 writes a reference with a description
        return every
    return _listed(node.get("anyOf")) or _listed(node.get("oneOf"))


def _named(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _listed(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _check_named_schema(value: object) -> None:
    if not isinstance(value, dict):
        _refuse(f"no object under {JSON_SCHEMA}", "send its name and schema")
    named = cast("dict[str, Any]", value)
    if others := sorted(set(named) - {"name", "description", "strict", "schema"}):
        _refuse(f"the key {others[0]!r} in {JSON_SCHEMA}", "send name, schema, strict, description")
    name, strict, about = named.get("name"), named.get("strict"), named.get("description")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        _refuse(f"the name {name!r}"[:100], "name the schema in 1 to 64 of A–Z, a–z, 0–9, _ and -")
    if strict is not None and not isinstance(strict, bool):
        _refuse(f"strict = {strict!r}"[:100], "send true or false")
    if about is not None and not isinstance(about, str):
        _refuse("a description that is no text", "send text, or leave it out")
    schema = named.get("schema")
    if not isinstance(schema, dict):
        _refuse("no object as schema", 'send a JSON schema, as {"type": "object", …}')
    _check_schema(cast("dict[str, Any]", schema))


def _check_schema(schema: Mapping[str, Any]) -> None:
    size = len(json.dumps(schema))
    if size > MAX_SCHEMA_BYTES:
        _refuse(f"a schema of {size:,} bytes", f"send at most {MAX_SCHEMA_BYTES:,}")
    for level, key, value in _entries(schema):
        if level > MAX_SCHEMA_LEVELS:
            _refuse(
                f"a schema of more than {MAX_SCHEMA_LEVELS} levels",
                "make it flatter, or give what repeats a name under $defs",
            )
        if isinstance(value, dict):
            keys = len(cast("dict[str, Any]", value))
            if keys > MAX_PROPERTIES:
                _refuse(f"{keys:,} keys in one object", f"ask for at most {MAX_PROPERTIES}")
        if key == "pattern" and isinstance(value, str):  # no text: a property of that name
            _refuse("a pattern", "leave it out, and hold the answer against it yourself")
        if key in _REPETITIONS and isinstance(value, int | float) and value > MAX_REPETITIONS:
            _refuse(f"{key} = {value!r}", f"ask for at most {MAX_REPETITIONS:,}")
        if key == "$ref" and isinstance(value, str) and not value.startswith("#"):
            _refuse(
                f"the reference {value!r}"[:100], "refer to parts of the schema: #/$defs/<name>"
            )


def _entries(schema: Mapping[str, Any]) -> Iterator[tuple[int, str, object]]:
    """Every key of every object in it, with its level, from 1; not by recursion: it may be deep."""
    waiting: list[tuple[int, object]] = [(1, schema)]
    while waiting:
        level, node = waiting.pop()
        if isinstance(node, dict):
            for key, value in cast("dict[str, object]", node).items():
                yield level, key, value
                waiting.append((level + 1, value))
        elif isinstance(node, list):
            yield level, "", None
            waiting += [(level + 1, value) for value in cast("list[object]", node)]


def _refuse(found: str, next_step: str) -> NoReturn:
    raise Refused(
        400,
        "bad_request",
        tried="read response_format",
        found=found,
        next_step=next_step,
        param="response_format",
    )
