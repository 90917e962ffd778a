"""The sampling parameters that a prompt template needs, beside the author's own."""
# pyright: strict

from __future__ import annotations

from typing import Any

from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.models.serving.served_precision import LOCAL_ENGINE
from twin_resources.prompt.templates import ANSWER_MODEL_TEMPLATE

# Six of 17 answers of a model of 1.5 billion parameters began with "yes", three of them against the
# passages. Without the word, it repeats what they say. llama.cpp takes texts in place of token ids.
_NO_REPLIES = [[word, False] for word in ("Yes", " Yes", "yes", "No")]


def frequency_penalty(template_hash: str) -> float:
    """Return the penalty for repeated words; an answer that repeats passages needs none."""
    return 0.0 if template_hash == ANSWER_MODEL_TEMPLATE.hash else FREQUENCY_PENALTY


def reply_ban(template_hash: str, engine: str) -> dict[str, Any]:
    """Return the parameter that keeps an answer from saying yes or no, where a server has one.

    Args:
        engine: name and version of the server's inference engine.
    """
    has_ban = template_hash == ANSWER_MODEL_TEMPLATE.hash and engine.startswith(LOCAL_ENGINE)
    return {"logit_bias": _NO_REPLIES} if has_ban else {}
