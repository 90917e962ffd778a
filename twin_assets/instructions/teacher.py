"""Questions written by a teacher model: any model that LiteLLM can name.

Belongs here: the request, and what of its answer is used. The teacher writes the question only; the
answer stays the author's own text. Does not belong here: templates (`back_translation.py`).
API: https://docs.litellm.ai/docs/completion/input
"""
# pyright: strict

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from twin_assets.instructions.near_duplicates import words_of
from twin_resources.errors import TwinError

TEACHER_VERSION = "1"
MOST_QUESTION_WORDS = 40
_AT_ONCE = 4
_REQUEST = (
    "A reader asks an author a question, and the passage below is the author's answer. Write that "
    "question: one sentence of at most 30 words, in the language of the passage, that names what "
    "the passage is about without quoting it. Answer with the question alone.\n\n"
    "Title of the post: {title}\n\nPassage:\n{passage}"
)


@dataclass(frozen=True)
class Asked:
    """What the teacher is shown: a passage and the title of its post."""

    title: str
    passage: str


def ask_teacher(model: str, asked: Sequence[Asked]) -> list[str]:
    """One question a passage, in order; empty where the teacher gave no usable one.

    Args:
        model: a LiteLLM model name; its key and address come from the environment, as LiteLLM says.

    Raises:
        TwinError: the teacher can't be reached or refuses (after three tries).
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it looks up GitHub
    import litellm
    from openai import OpenAIError

    litellm.telemetry = False  # pyright: ignore[reportAttributeAccessIssue]
    complete: Any = litellm.completion

    def ask(passage: Asked) -> str:
        content = _REQUEST.format(title=passage.title, passage=passage.passage)
        answer = complete(
            model=model,
            messages=[{"role": "user", "content": content}],
            temperature=0.0,
            max_tokens=100,
            num_retries=2,
            timeout=60,
        )
        return usable_question(answer.choices[0].message.content or "")

    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(ask, asked))
    except OpenAIError as error:  # every LiteLLM error is one
        raise TwinError(
            f"have the teacher {model} write questions",
            found=str(error).splitlines()[0],
            next_step="check the name and its key, or unset TWIN_TEACHER_MODEL to use templates",
        ) from error


def usable_question(said: str) -> str:
    """The question in a teacher's answer; empty when there is none of three to forty words."""
    lines = [line.strip().strip("\"'“”*").strip() for line in said.splitlines()]
    line = next((line for line in lines if line), "")
    return line if 3 <= len(words_of(line)) <= MOST_QUESTION_WORDS else ""
