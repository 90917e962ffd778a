"""How much of a conversation fits into a model's context: counted in the model's own tokens.

Scope: counting, and choosing the turns that stay. Out of scope: how many passages a
prompt shows (`Author.context_tokens`), reading a conversation (`request_body.py`).

Turns are kept whole, the newest first, because half an answer reads as the writer's mistake.
"""
# pyright: strict

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

DEFAULT_CONTEXT_TOKENS = 4096  # what our own servers give a request
# A paid model could read a hundred times as much, and charges for each token of it.
PAID_CONTEXT_TOKENS = 8192
TOKENS_OF_TURN = 8  # of the chat markup around it
_SLACK = 32  # the markup of the answer that begins, and its last token
# Longest stretch that a token of a chat model stands for, on average over a whole turn (blanks);
# beyond it nothing is counted, so that a turn of 200 KB costs no time.
_MAX_CHARACTERS_PER_TOKEN = 16
_BYTES_PER_TOKEN = 2.5  # without a tokenizer; SmolLM2 has 4.3 on English posts, 2.6 on Swedish

Count = Callable[[str], int]


def counter_of(folder: str) -> Count:
    """Counts tokens as the tokenizer in a transformers folder does; without one, by bytes."""
    tokenizer = _tokenizer(folder) if folder else None
    if tokenizer is None:
        return lambda text: round(len(text.encode()) / _BYTES_PER_TOKEN) + 1
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def context_of(folder: str) -> int:
    """The context that a transformers folder's config names, in tokens; 0: it names none."""
    try:
        config: object = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    if not isinstance(config, dict):
        return 0
    return int(cast("dict[str, Any]", config).get("max_position_embeddings") or 0)


@lru_cache(maxsize=4)
def _tokenizer(folder: str) -> Any | None:
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exceptions; it is told once
        sys.stderr.write(f"{path} is no tokenizer ({error}): tokens are estimated by bytes\n")
        return None


def fitting_history(
    turns: Sequence[Mapping[str, str]],
    *,
    prompt: Sequence[Mapping[str, str]],
    context_tokens: int,
    answer_tokens: int,
    count: Count,
) -> tuple[Sequence[Mapping[str, str]], int]:
    """The newest turns that fit beside a prompt and its answer, and how many were left out.

    Args:
        turns: oldest first.
        prompt: rendered without them.
        context_tokens: of the model, prompt and answer together.
        answer_tokens: at most; half of the context is kept for it, not more.
    """
    room = context_tokens - min(answer_tokens, context_tokens // 2) - _SLACK
    room -= sum(count(message["content"]) + TOKENS_OF_TURN for message in prompt)
    turns_kept = len(turns)
    while turns_kept:
        text = turns[turns_kept - 1]["content"]
        room -= TOKENS_OF_TURN
        if len(text) > room * _MAX_CHARACTERS_PER_TOKEN:
            break
        room -= count(text)
        if room < 0:
            break
        turns_kept -= 1
    return turns[turns_kept:], turns_kept
