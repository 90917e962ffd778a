"""Map the attributes of a span to one observation.

Scope: the mapping of attributes (`langfuse.*`, `user.id`, `session.id`) to fields. Attributes of
other conventions become metadata.
Out of scope: decoding OTLP (`otlp.py`), the API's representation (`observation_documents.py`),
filters and paging (`queries.py`), storage.
Source of the mapping: https://langfuse.com/integrations/native/opentelemetry#property-mapping,
checked against recorded responses of Langfuse 4.16.0.
"""
# pyright: strict

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from twin_resources.observability.trace_store.json_values import (
    flatten,
    parse_stored_text,
    parse_timestamp_ms,
    to_text,
)
from twin_resources.observability.trace_store.otlp import OtlpSpan
from twin_resources.untrusted_json import parse_untrusted_json

_TYPES = (
    *("span", "generation", "event", "embedding", "agent"),
    *("tool", "chain", "retriever", "guardrail", "evaluator"),
)
_LEVELS = ("DEBUG", "DEFAULT", "WARNING", "ERROR")
_USER_KEYS = ("langfuse.user.id", "user.id")
_SESSION_KEYS = ("langfuse.session.id", "session.id")
_MAPPED_KEYS = frozenset(
    f"{owner}.{side}"
    for owner in ("langfuse.trace", "langfuse.observation")
    for side in ("input", "output")
)
_MAPPED_PREFIXES = ("langfuse.trace.metadata", "langfuse.observation.metadata")


@dataclass(frozen=True)
class TraceFields:
    """The fields of an observation that describe its trace."""

    user_id: str
    session_id: str
    trace_name: str
    release: str
    tags: tuple[str, ...]
    public: bool


@dataclass(frozen=True)
class GenerationFields:
    """The fields of an observation that describe a model call."""

    model: str
    model_parameters: Mapping[str, Any]
    usage: Mapping[str, float]
    cost: Mapping[str, float]
    prompt_name: str
    prompt_version: int | None


@dataclass(frozen=True)
class Observation:
    """One row of the store. Times are in Unix milliseconds, and an absent text is empty."""

    trace_id: str
    id: str
    parent_id: str
    start_ms: int
    end_ms: int
    type: str
    name: str
    level: str
    status_message: str
    version: str
    environment: str
    completion_ms: int | None
    created_ms: int
    updated_ms: int
    trace: TraceFields
    is_app_root: bool
    generation: GenerationFields
    input: str | None
    output: str | None
    metadata: Mapping[str, str]

    @property
    def is_root(self) -> bool:
        return not self.parent_id or self.is_app_root


def build_observation(span: OtlpSpan, *, now_ms: int) -> Observation:
    """Map one span to an observation; an empty attribute counts as absent."""
    attributes = span.attributes
    start_ms, end_ms = span.start_ns // 1_000_000, span.end_ns // 1_000_000
    start_ms, end_ms = start_ms or end_ms or now_ms, end_ms or start_ms or now_ms
    type_name = _read_type(attributes)
    version = attributes.get("langfuse.version") or span.resource.get("service.version") or ""
    level = str(attributes.get("langfuse.observation.level"))
    input_text, output_text = _read_input_and_output(attributes)
    return Observation(
        trace_id=span.trace_id,
        id=span.span_id,
        parent_id=span.parent_span_id,
        start_ms=start_ms,
        end_ms=end_ms,
        type=type_name,
        name=span.name,
        level=level if level in _LEVELS else "ERROR" if span.status == 2 else "DEFAULT",
        status_message=str(
            attributes.get("langfuse.observation.status_message") or span.status_message
        ),
        version=str(version),
        environment=normalize_environment(
            str(
                attributes.get("langfuse.environment")
                or span.resource.get("langfuse.environment")
                or ""
            )
        ),
        completion_ms=_read_completion_ms(attributes),
        created_ms=now_ms,
        updated_ms=now_ms,
        trace=_read_trace_fields(attributes, span.resource),
        is_app_root=str(attributes.get("langfuse.internal.is_app_root")).lower() == "true",
        generation=_read_generation_fields(attributes, type_name),
        input=input_text,
        output=output_text,
        metadata=_read_metadata(span),
    )


def _read_trace_fields(attributes: Mapping[str, Any], resource: Mapping[str, Any]) -> TraceFields:
    release = attributes.get("langfuse.release") or resource.get("langfuse.release") or ""
    return TraceFields(
        user_id=_find_first_text(attributes, _USER_KEYS),
        session_id=_find_first_text(attributes, _SESSION_KEYS),
        trace_name=str(attributes.get("langfuse.trace.name") or ""),
        release=str(release),
        tags=_parse_tags(attributes.get("langfuse.trace.tags")),
        public=str(attributes.get("langfuse.trace.public")).lower() == "true",
    )


def _read_generation_fields(attributes: Mapping[str, Any], type_name: str) -> GenerationFields:
    has_prompt = type_name == "GENERATION"  # only a generation is linked to a prompt
    prompt_version = str(attributes.get("langfuse.observation.prompt.version") or "")
    return GenerationFields(
        model=str(attributes.get("langfuse.observation.model.name") or ""),
        model_parameters=_parse_object(attributes.get("langfuse.observation.model.parameters"))
        or {},
        usage=_parse_counts(attributes.get("langfuse.observation.usage_details")),
        cost=_parse_counts(attributes.get("langfuse.observation.cost_details")),
        prompt_name=str(attributes.get("langfuse.observation.prompt.name") or "")
        if has_prompt
        else "",
        prompt_version=int(prompt_version)
        if has_prompt and re.fullmatch(r"[0-9]{1,9}", prompt_version)
        else None,
    )


def _read_type(attributes: Mapping[str, Any]) -> str:
    type_name = str(attributes.get("langfuse.observation.type") or "")
    return type_name.upper() if type_name in _TYPES else "SPAN"


def _find_first_text(attributes: Mapping[str, Any], keys: Iterable[str]) -> str:
    return next((to_text(attributes[key]) for key in keys if attributes.get(key)), "")


def normalize_environment(environment: str) -> str:
    """Return the name in lower case, without reserved prefixes, truncated to 40 characters.

    An empty name or a name with characters outside `a-z0-9-_` becomes `default`.
    """
    name = re.sub(r"^(?:langfuse[-_]?)+", "", environment.lower())[:40]
    return name if re.fullmatch(r"[a-z0-9_-]+", name) else "default"


def _read_completion_ms(attributes: Mapping[str, Any]) -> int | None:
    timestamp = attributes.get("langfuse.observation.completion_start_time")
    if not isinstance(timestamp, str) or not timestamp:
        return None
    try:
        return parse_timestamp_ms(timestamp.strip('"'))  # older SDKs quote the value twice
    except ValueError:
        return None


def _parse_tags(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and value.strip().startswith("["):
        parsed = parse_stored_text(value)
        value = cast(list[Any], parsed) if isinstance(parsed, list) else value
    if isinstance(value, str):
        return tuple(tag.strip() for tag in value.split(",")) if value else ()
    return tuple(str(tag) for tag in cast(list[Any], value or []))


def _parse_object(value: Any) -> dict[str, Any] | None:
    """Return an attribute's JSON object, {} for other JSON, or None if it is absent or not JSON."""
    if not value:
        return None
    try:
        parsed = parse_untrusted_json(to_text(value))
    except ValueError:
        return None
    return cast(dict[str, Any], parsed) if isinstance(parsed, dict) else {}


def _parse_counts(attribute: Any) -> dict[str, float]:
    """Return the numeric values of a JSON object, with their sum as `total` unless it has one."""
    counts: dict[str, float] = {}
    for name, value in (_parse_object(attribute) or {}).items():
        try:
            count = float(value)
        except (TypeError, ValueError, OverflowError):
            continue  # a label, not a count
        if math.isfinite(count):
            counts[name] = count
    return counts if not counts or "total" in counts else counts | {"total": sum(counts.values())}


def _read_input_and_output(attributes: Mapping[str, Any]) -> tuple[str | None, str | None]:
    for input_key, output_key in (
        ("langfuse.observation.input", "langfuse.observation.output"),
        ("langfuse.trace.input", "langfuse.trace.output"),
    ):
        pair = (attributes.get(input_key), attributes.get(output_key))
        if pair != (None, None):
            return (
                None if pair[0] is None else to_text(pair[0]),
                None if pair[1] is None else to_text(pair[1]),
            )
    return None, None


def _read_metadata(span: OtlpSpan) -> dict[str, str]:
    layers: dict[str, Any] = {}
    # Langfuse's SDK sends only attributes that are mapped to fields.
    if not span.scope_name.startswith("langfuse-sdk"):
        layers["attributes"] = {
            key: to_text(value)
            for key, value in span.attributes.items()
            if key not in _MAPPED_KEYS and not key.startswith(_MAPPED_PREFIXES)
        }
    layers["resourceAttributes"] = span.resource
    scope = {"name": span.scope_name, "version": span.scope_version}
    layers["scope"] = {key: value for key, value in scope.items() if value} | {
        "attributes": span.scope_attributes
    }
    metadata = flatten(layers)
    for prefix in ("langfuse.observation.metadata", "langfuse.trace.metadata"):
        metadata |= flatten(_parse_object(span.attributes.get(prefix)) or {})
        metadata |= flatten(
            {
                key.removeprefix(f"{prefix}."): value
                for key, value in span.attributes.items()
                if key.startswith(f"{prefix}.")
            }
        )
    return metadata
