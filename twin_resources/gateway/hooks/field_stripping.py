"""What a model server says of itself beside an answer: it stays inside.

Scope: taking it off LiteLLM's answers and chunks. Out of scope: what the gateway
says instead (`request_record.py`).

`timings` and `cached_tokens` tell how much of a prompt was in the server's cache already: a reader
who asks what another may have asked learns from them whether somebody did.
"""

from __future__ import annotations

from typing import Any

_COUNTS = {"prompt_tokens", "completion_tokens", "total_tokens"}
_OF_THE_SERVER = ("timings", "__verbose", "prompt_progress", "usage_details")


def without_inner_fields(response: Any) -> Any:
    """The same answer or chunk without its server's own figures."""
    holders = [response, *(getattr(response, "choices", None) or [])]
    holders += [
        inner
        for choice in holders[1:]
        for name in ("message", "delta")
        if (inner := getattr(choice, name, None)) is not None
    ]
    for holder in holders:
        for name in (*_OF_THE_SERVER, "provider_specific_fields"):
            _drop(holder, name)
    usage = getattr(response, "usage", None)
    if usage is not None:
        for name in set(vars(usage)) - _COUNTS:
            setattr(usage, name, None)  # not deleted: LiteLLM's accounting reads them later
        for name in set(getattr(usage, "__pydantic_extra__", None) or {}) - _COUNTS:
            _drop(usage, name)
    return response


def _drop(holder: Any, name: str) -> None:
    extra = getattr(holder, "__pydantic_extra__", None)
    if extra:
        extra.pop(name, None)
    # LiteLLM deletes fields that are None itself, so that they are not written as null
    vars(holder).pop(name, None)
    fields_set = getattr(holder, "__pydantic_fields_set__", None)
    if fields_set is not None:
        fields_set.discard(name)
