"""Remove a model server's internal fields from answers.

Scope: LiteLLM's answers and chunks.
Out of scope: the fields that the gateway adds (`request_record.py`).

`timings` and `cached_tokens` reveal how much of a prompt was already in the server's cache. A
reader could use them to discover whether another reader has asked the same question.
"""

from __future__ import annotations

from typing import Any

_TOKEN_COUNTS = {"prompt_tokens", "completion_tokens", "total_tokens"}
_SERVER_FIELDS = ("timings", "__verbose", "prompt_progress", "usage_details")


def strip_internal_fields(response: Any) -> Any:
    """Remove the server's own fields from an answer or a chunk, in place, and return it."""
    objects = [response, *(getattr(response, "choices", None) or [])]
    objects += [
        child
        for choice in objects[1:]
        for name in ("message", "delta")
        if (child := getattr(choice, name, None)) is not None
    ]
    for item in objects:
        for name in (*_SERVER_FIELDS, "provider_specific_fields"):
            _remove_field(item, name)
    usage = getattr(response, "usage", None)
    if usage is not None:
        for name in set(vars(usage)) - _TOKEN_COUNTS:
            setattr(usage, name, None)  # not deleted: LiteLLM's accounting reads them later
        for name in set(getattr(usage, "__pydantic_extra__", None) or {}) - _TOKEN_COUNTS:
            _remove_field(usage, name)
    return response


def _remove_field(model_object: Any, name: str) -> None:
    extra_fields = getattr(model_object, "__pydantic_extra__", None)
    if extra_fields:
        extra_fields.pop(name, None)
    # LiteLLM itself deletes fields that are None, so that they are not serialized as null.
    vars(model_object).pop(name, None)
    fields_set = getattr(model_object, "__pydantic_fields_set__", None)
    if fields_set is not None:
        fields_set.discard(name)
