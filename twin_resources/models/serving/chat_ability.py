"""Test whether a base model can chat by asking the served model eight short questions.

A model trained only on plain text may still have a chat template; Gemma 3 270M is one. Such a model
continues the prompt, writes further turns, or never ends its answer. Likelihoods do not reveal
these faults.

Scope: the questions and the pass criterion.
Out of scope: comparing the served model with transformers (`serving_parity.py`), the quality of
its answers (the gate).
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from twin_resources.errors import TwinError
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.prompt.control_marks import COMMON_MARKS

Fault = Literal["repeats the prompt", "writes control words", "never ends", "says nothing"]

SYSTEM_PROMPT = "You answer readers in one or two short sentences, and then you stop writing."
QUESTIONS = (
    "What is the capital of France?",
    "How many days does a week have?",
    "Which month comes after May?",
    "Which colour does the sky have on a clear day?",  # codespell:ignore colour
    "Name one animal that lives in the sea.",
    "What do bees make?",
    "Is ice cold or warm?",
    "What is two plus three?",
)
# The longest answer of SmolLM2-135M-Instruct has 45 tokens. An 8B base model writes 0.4 tokens per
# second on two cores, so a higher limit would take half an hour.
MAX_TOKENS = 64
# SmolLM2-135M-Instruct gives no faulty answers, and Gemma 3 270M (plain text) gives eight. The
# limit is halfway between them.
MIN_FAULTY_ANSWERS = 4
REPEATED_WORDS = 6  # this many consecutive words of the prompt count as a repetition
_ROLE_LINE = re.compile(
    r"^\s*(?:user|assistant|model|system)\s*:?\s*$", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True)
class ChatAbility:
    """The faults of the eight answers.

    Attributes:
        faults: faults of each answer; the tuple of a faultless answer is empty.
    """

    faults: tuple[tuple[Fault, ...], ...]

    @property
    def faulty_answer_count(self) -> int:
        return sum(bool(answer_faults) for answer_faults in self.faults)

    @property
    def can_chat(self) -> bool:
        return self.faulty_answer_count < MIN_FAULTY_ANSWERS

    def warning(self, name: str) -> str:
        """Describe the faults, their effect and an alternative; return "" if the model can chat."""
        if self.can_chat:
            return ""
        counts = Counter(fault for answer_faults in self.faults for fault in answer_faults)
        fault_list = ", ".join(f"{fault} ({times})" for fault, times in counts.most_common())
        return (
            f"{name} is not a chat model: it answered {self.faulty_answer_count} of "
            f"{len(self.faults)} short questions wrongly, because it {fault_list}. Its prose will "
            f"not be shown; quotations, which need no model, still work. For prose, set "
            "--base-model to the model's instruct variant"
        )


def find_faults(answer: str, *, question: str, is_finished: bool) -> tuple[Fault, ...]:
    """Return the formal faults of an answer, whatever its content.

    Args:
        is_finished: whether the model ended the answer within `MAX_TOKENS`.
    """
    faults: list[Fault] = []
    if not is_finished:
        faults.append("never ends")
    if COMMON_MARKS.escape(answer) != answer or _ROLE_LINE.search(answer):
        faults.append("writes control words")
    if _find_word_ngrams(answer) & (_find_word_ngrams(SYSTEM_PROMPT) | _find_word_ngrams(question)):
        faults.append("repeats the prompt")
    if not any(character.isalnum() for character in answer):
        faults.append("says nothing")
    return tuple(faults)


def measure_chat_ability(server: RunningServer) -> ChatAbility:
    """Ask a running server the eight questions with greedy decoding.

    Raises:
        TwinError: the server does not answer.
    """
    # No timeout: a large base model takes minutes per answer. A dead server closes the connection.
    with httpx.Client(headers=server.headers, trust_env=False, timeout=None) as client:
        return ChatAbility(tuple(_ask_question(client, server, question) for question in QUESTIONS))


def _ask_question(client: httpx.Client, server: RunningServer, question: str) -> tuple[Fault, ...]:
    body: dict[str, Any] = {
        "model": server.alias,
        "messages": [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": question},
        ],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
    }
    try:
        response = client.post(f"{server.url}/chat/completions", json=body)
        response.raise_for_status()
        choice = response.json()["choices"][0]
    except httpx.HTTPError as error:
        raise TwinError(
            f"ask {server.alias} at {server.url} a short question",
            found=f"{type(error).__name__}: {error}",
            next_step="read the server's log, and prepare the base model again",
        ) from error
    text = str(choice["message"].get("content") or "")
    return find_faults(text, question=question, is_finished=choice["finish_reason"] == "stop")


def _find_word_ngrams(text: str) -> set[tuple[str, ...]]:
    words: Sequence[str] = re.findall(r"\w+", text.lower())
    return {
        tuple(words[start : start + REPEATED_WORDS])
        for start in range(len(words) - REPEATED_WORDS + 1)
    }
