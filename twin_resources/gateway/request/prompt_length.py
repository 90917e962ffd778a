"""Fit a conversation into a model's context, counted in the model's own tokens.

Scope: counting tokens, and choosing the turns to keep. Out of scope: the number of passages in a
prompt (`Author.context_tokens`), reading a conversation (`request_body.py`).

Turns are kept whole, newest first, because a truncated answer looks like the writer's mistake.
"""
# pyright: strict

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

DEFAULT_CONTEXT_TOKENS = 4096  # context of the home's own servers
# A paid model could read a hundred times as much, but charges for each token.
PAID_CONTEXT_TOKENS = 8192
TURN_OVERHEAD_TOKENS = 8  # chat markup around a turn
_RESERVED_TOKENS = 32  # markup at the start of the answer, and its last token
# Maximum mean number of characters per token in a turn, reached only by blanks. A longer turn
# cannot fit and is not counted, so that a turn of 200 KB takes no time.
_MAX_CHARACTERS_PER_TOKEN = 16
_BYTES_PER_TOKEN = 2.5  # without a tokenizer; SmolLM2 has 4.3 on English posts, 2.6 on Swedish ones

TokenCounter = Callable[[str], int]


def token_counter(folder: str) -> TokenCounter:
    """Return a counter that uses the tokenizer in a transformers folder, or bytes without one."""
    tokenizer = _load_tokenizer(folder) if folder else None
    if tokenizer is None:
        return lambda text: round(len(text.encode()) / _BYTES_PER_TOKEN) + 1
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def context_length(folder: str) -> int:
    """Return the context length in a transformers folder's config, in tokens, or 0 if unknown."""
    try:
        config: object = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    if not isinstance(config, dict):
        return 0
    return int(cast("dict[str, Any]", config).get("max_position_embeddings") or 0)


@lru_cache(maxsize=4)
def _load_tokenizer(folder: str) -> Any | None:
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exceptions; reported once
        sys.stderr.write(f"{path} is not a tokenizer ({error}): bytes are counted instead\n")
        return None


def fit_history(
    turns: Sequence[Mapping[str, str]],
    *,
    prompt: Sequence[Mapping[str, str]],
    context_tokens: int,
    answer_tokens: int,
    count_tokens: TokenCounter,
) -> tuple[Sequence[Mapping[str, str]], int, int]:
    """Return the newest turns that fit with a prompt and its answer, and what was cut.

    vLLM refuses a prompt that leaves no room for `max_tokens`; llama.cpp ends the answer there.

    Args:
        turns: the turns, oldest first.
        prompt: the prompt rendered without the turns.
        context_tokens: context of the model, prompt and answer together.
        answer_tokens: maximum length of the answer; at most half of the context is reserved for it.

    Returns:
        The turns, the number dropped, and the maximum length of the answer that fits, at least 1.
    """
    free_tokens = context_tokens - _RESERVED_TOKENS - TURN_OVERHEAD_TOKENS * len(prompt)
    # A token has at least one byte, so a short prompt without turns fits uncounted.
    if not turns and answer_tokens + sum(len(m["content"].encode()) for m in prompt) <= free_tokens:
        return turns, 0, answer_tokens
    free_tokens -= sum(count_tokens(message["content"]) for message in prompt)
    answer_tokens = max(1, min(answer_tokens, max(context_tokens // 2, 0), free_tokens))
    remaining_tokens = free_tokens - answer_tokens
    dropped_count = len(turns)
    while dropped_count:
        text = turns[dropped_count - 1]["content"]
        remaining_tokens -= TURN_OVERHEAD_TOKENS
        if len(text) > remaining_tokens * _MAX_CHARACTERS_PER_TOKEN:
            break
        remaining_tokens -= count_tokens(text)
        if remaining_tokens < 0:
            break
        dropped_count -= 1
    return turns[dropped_count:], dropped_count, answer_tokens
