"""Accept parameters of OpenAI's API that have no effect on a twin.

Scope: the keys that have no effect, their accepted values, and the reader named by the client.
Out of scope: the keys that change an answer (`request_body.py`).

Chat programs send many defaults: `n: 1`, a list of optional tools, metadata for their own accounts.
Refusing these would exclude such programs. A value that would change the answer (`n: 2`) is
refused, because ignoring it would mislead the client. Accepted keys without effect are listed in
`twin.ignored`. Keys: https://platform.openai.com/docs/api-reference/chat/create
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from twin_resources.access.refusals import bad_request

# Accepted with any value, and listed in `twin.ignored`. They concern the provider's accounts,
# caches and tiers, or are sampling parameters of other servers.
_REPORTED_KEYS = frozenset(
    {
        "metadata",
        "store",
        "tools",
        "functions",
        "parallel_tool_calls",
        "service_tier",
        "reasoning",
        "reasoning_effort",
        "verbosity",
        "prompt_cache_key",
        "prompt_cache_retention",
        *("top_k", "top_a", "min_p", "typical_p", "repetition_penalty", "repeat_penalty"),
        *("thinking", "enable_thinking", "chat_template_kwargs", "include_reasoning"),
        *("keep_alive", "cache_prompt", "web_search_options"),
        *("truncation", "include", "max_tool_calls"),
    }
)
# Accepted only with these values, which are the defaults, so `twin.ignored` omits them. Null is
# always accepted.
_DEFAULT_VALUES: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "n": (1,),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "logit_bias": ({},),
        "tool_choice": ("auto", "none"),
        "function_call": ("auto", "none"),
        "modalities": (["text"],),
        # Of the two other APIs.
        "suffix": ("",),
        "echo": (False,),
        "best_of": (1,),
        "conversation": (),
        "background": (False,),
    }
)
BATCH_METADATA_KEY = "twin.batch"
"""Entry of `metadata` with which `twin batch` marks a request that no reader sent."""
PAGE_METADATA_KEYS = ("twin.page", "twin.page_title")
"""Entries of `metadata` with the address and the title of the page on which a reader asks."""
MAX_METADATA_CHARACTERS = 512  # OpenAI's limit
READER_KEYS = ("user", "safety_identifier")
"""Keys that name a reader; OpenAI has replaced the first with the second."""
MAX_READER_CHARACTERS = 200
IGNORED_KEYS = _REPORTED_KEYS | _DEFAULT_VALUES.keys() | set(READER_KEYS)


def is_accepted_value(value: object, accepted_values: tuple[object, ...]) -> bool:
    """Return whether a value is null or an accepted value.

    Types are compared too, because `1 == True` and `1.0 == 1`: n = true is refused.
    """
    return value is None or any(
        value == accepted and type(value) is type(accepted) for accepted in accepted_values
    )


def read_ignored_parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    """Read the keys of `IGNORED_KEYS` in a body.

    Returns:
        `ignored` (the names of the keys without effect), `user` (the named reader, or empty) and,
        if they are given, `batch` (whether the question belongs to one) and `page` (its address
        and its title).

    Raises:
        RefusedError: 400 if a value requests an unsupported feature.
    """
    for name, default_values in _DEFAULT_VALUES.items():
        value = body.get(name)
        if not is_accepted_value(value, default_values):
            values = " or ".join(map(repr, default_values))
            raise bad_request(
                name,
                found=f"{name} = {value!r}"[:80],
                next_step=f"{f'send {values}, or ' if values else ''}omit it: a twin gives one "
                "answer as text, without "
                "log probabilities, and calls no tools; for an object that follows a schema, send "
                "response_format",
                code="not_given",
            )
    ignored_keys = {name for name in _REPORTED_KEYS if body.get(name)}
    metadata = body.get("metadata")
    metadata_fields = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}
    is_batch = metadata_fields.get(BATCH_METADATA_KEY) == "true"
    page = [
        str(metadata_fields.get(name) or "")[:MAX_METADATA_CHARACTERS]
        for name in PAGE_METADATA_KEYS
    ]
    used_keys = {*PAGE_METADATA_KEYS, *([BATCH_METADATA_KEY] if is_batch else [])}
    if metadata_fields.keys() <= used_keys:
        ignored_keys.discard("metadata")
    parameters = {"ignored": sorted(ignored_keys), "user": _read_reader(body)}
    return (
        parameters | ({"batch": True} if is_batch else {}) | ({"page": page} if any(page) else {})
    )


def _read_reader(body: Mapping[str, Any]) -> str:
    for name in READER_KEYS:
        value = body.get(name)
        if value is None or value == "":
            continue
        if not isinstance(value, str) or len(value) > MAX_READER_CHARACTERS:
            raise bad_request(
                name,
                found=f"{name} = {value!r}"[:80],
                next_step=f"send text of at most {MAX_READER_CHARACTERS} characters",
            )
        return value
    return ""
