"""What a chat program may send although nothing comes of it: the values that ask for nothing.

Scope: the keys of OpenAI's API that change no meaning for a twin, which of their values are
taken, and who is named as the reader.
Out of scope: the keys that an answer follows (`request_body.py`).

A program sends much by habit: `n: 1`, a list of tools that the model may leave alone, metadata for
its own accounts. To refuse that keeps the program out; to take what would change the answer
(`n: 2`) and not do it would be a lie, so that stays refused. What is taken without
an effect is named in `twin.ignored`. Keys:
https://platform.openai.com/docs/api-reference/chat/create
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from twin_resources.access.refusals import Refused

# Taken with any value, and named: for the provider's accounts, caches and tiers, and what other
# servers sample by.
_NAMED = frozenset(
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
    }
)
# Taken with these values only, which are what happens anyway: nothing to name. Null always is.
_WITHOUT_EFFECT: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "n": (1,),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "logit_bias": ({},),
        "tool_choice": ("auto", "none"),
        "function_call": ("auto", "none"),
        "modalities": (["text"],),
    }
)
BATCH_MARK = "twin.batch"
"""The entry of `metadata` by which `twin batch` says that no reader asks this."""
READERS = ("user", "safety_identifier")
"""Keys that name a reader; OpenAI replaces the first by the second."""
MAX_READER_CHARACTERS = 200
IDLE_KEYS = _NAMED | _WITHOUT_EFFECT.keys() | set(READERS)


@dataclass(frozen=True)
class IdleKeys:
    """What was read of them: `user`, empty where nobody is named, whether the question is of a
    batch, and what has no effect."""

    user: str
    batch: bool
    ignored: tuple[str, ...]


def read_idle(body: Mapping[str, Any]) -> IdleKeys:
    """Read the keys of `IDLE_KEYS` in a body.

    Raises:
        Refused: 400 a value that asks for what a twin does not give.
    """
    for name, taken in _WITHOUT_EFFECT.items():
        value = body.get(name)
        # `1 == True` and `1.0 == 1`: n = true is a mistake, and LiteLLM never sees it.
        same = any(value == one and type(value) is type(one) for one in taken)
        if value is not None and not same:
            listed = " or ".join(repr(one) for one in taken)
            raise Refused(
                400,
                "not_given",
                tried="read the request",
                found=f"{name} = {value!r}"[:80],
                next_step=f"send {listed}, or leave it out: a twin gives one answer in text, "
                "without log probabilities, and calls no tools; for an object by a schema send "
                "response_format",
                param=name,
            )
    ignored = {name for name in _NAMED if body.get(name)}
    metadata = body.get("metadata")
    sent = cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}
    batch = sent.get(BATCH_MARK) == "true"
    if sent == {BATCH_MARK: "true"}:
        ignored.discard("metadata")
    return IdleKeys(_reader(body), batch, tuple(sorted(ignored)))


def _reader(body: Mapping[str, Any]) -> str:
    for name in READERS:
        value = body.get(name)
        if value is None or value == "":
            continue
        # Half of a surrogate pair cannot be hashed as UTF-8.
        fits = isinstance(value, str) and len(value) <= MAX_READER_CHARACTERS
        if not fits or any("\ud800" <= character <= "\udfff" for character in value):
            raise Refused(
                400,
                "bad_request",
                tried="read the request",
                found=f"{name} = {value!r}"[:80],
                next_step=f"send a text of at most {MAX_READER_CHARACTERS} characters",
                param=name,
            )
        return value
    return ""
