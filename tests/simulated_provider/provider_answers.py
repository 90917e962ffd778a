"""Create the answers, failures and charges of the simulated provider.

Scope: the words of an answer, the failures, the bill. Out of scope: HTTP (`paid_provider.py`).

Token counting: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
"""
# pyright: strict

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FAILURES = ("429", "500", "hang", "cut", "broken", "no usage", "long")
# Each word with its leading space is one token of o200k_base.
WORDS = (
    *("the", "clock", "is", "dry", "and", "slow", "today", "in", "my", "house", "by", "old"),
    *("stone", "wall", "with", "a", "light", "on", "top", "of", "it", "then", "we", "turn", "key"),
    *("two", "times", "each", "week", "to", "keep", "time", "right", "for", "all", "who", "here"),
)
_PHRASES = (
    "Optimization of stakeholder synergies facilitates scalable deliverables.",
    "Innovative methodologies leverage organizational verticals holistically.",
    "Cross-functional alignment maximizes actionable key performance indicators.",
    "Strategic frameworks operationalize sustainable competitive differentiation.",
)
_MIN_LETTERS = 5  # of a content word (`clock`); shorter words are in every text
_MIN_COMMON_WORDS = 3  # content words that a question shares with the paragraph that answers it


@dataclass(frozen=True)
class Behavior:
    """Parameters of a provider.

    Attributes:
        prompt_nano: price of a prompt token in nano-dollars.
        answer_nano: price of an answer token in nano-dollars.
        latency_s: mean time before the first byte, drawn for each request.
        token_s: time between two tokens of a stream.
        rates: probability of each failure, by its name in `FAILURES`.
        reads: whether to answer from the prompt if it is relevant to the question.
        seed: the seed of all random numbers.
    """

    prompt_nano: int = 150  # gpt-4o-mini's $0.15 and $0.60 per million
    answer_nano: int = 600
    latency_s: float = 0.02
    token_s: float = 0.002
    rates: Mapping[str, float] = field(default_factory=dict[str, float])
    reads: bool = False
    seed: int = 0


@dataclass
class Bill:
    """The charges in whole nano-dollars; each request's line is written immediately."""

    path: Path
    nano: int = 0
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def charge(self, behavior: Behavior, outcome: str, *, prompt: int, answer: int) -> None:
        """Append a request with these numbers of tokens to the bill."""
        nano = prompt * behavior.prompt_nano + answer * behavior.answer_nano
        line = {"outcome": outcome, "prompt_tokens": prompt, "answer_tokens": answer, "nano": nano}
        with self._lock:
            self.nano += nano
            self.requests += 1
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")


def read_bill(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a bill, oldest first; empty before the first request."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class ProviderAnswers:
    """Answers with a `Behavior`, and their bill; the same seed produces the same answers."""

    def __init__(self, behavior: Behavior, bill: Path) -> None:
        self.behavior = behavior
        self.bill = Bill(bill)
        self._request_numbers = itertools.count()
        self._encode, self._decode = _encoder()

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens in a text."""
        return len(self._encode(text))

    def next_random(self) -> random.Random:
        """Return the random generator for the next request."""
        return random.Random(self.behavior.seed * 1_000_003 + next(self._request_numbers))

    def count_prompt_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """Return the number of tokens in a prompt, counted as in OpenAI's cookbook."""
        return 3 + sum(
            3 + len(self._encode(str(message["role"]))) + len(self._encode(str(message["content"])))
            for message in messages
        )

    def write(
        self, body: Mapping[str, Any], failure: str, rng: random.Random
    ) -> tuple[list[str], int, str]:
        """Return an answer's pieces, its number of tokens, and its finish reason."""
        max_tokens = int(body.get("max_tokens") or body.get("max_completion_tokens") or 64)
        if rating := _fill_schema(body, rng):
            words, length = [rating], self.count_tokens(rating)
        elif self.behavior.reads and failure not in {"long", "hang"}:
            words = self.read(body["messages"], max_tokens)
            length = len(words)
        else:
            length = (
                max_tokens if failure in {"long", "hang"} else min(max_tokens, rng.randint(3, 40))
            )
            words = [" " + rng.choice(WORDS) for _ in range(length)]
        return words, length, "length" if length == max_tokens else "stop"

    def read(self, messages: Sequence[Mapping[str, Any]], max_tokens: int) -> list[str]:
        """Return the tokens of the prompt's paragraph nearest to the question, or empty phrases.

        The answer depends only on the prompt, not on the order of requests.
        """
        *paragraphs, question = str(messages[-1]["content"]).split("\n\n")
        words = _content_words(question)
        common = [len(words & _content_words(paragraph)) for paragraph in paragraphs]
        if max(common, default=0) >= _MIN_COMMON_WORDS:
            title, _, text = paragraphs[common.index(max(common))].partition("\n")
            phrase = text or title  # a passage's first line is its number and title
        else:
            rng = random.Random(f"{self.behavior.seed} {question}")
            phrase = " ".join(rng.choices(_PHRASES, k=rng.randint(1, 6)))
        # An ASCII character is never split between tokens, so each piece is one token.
        tokens = self._encode(phrase.encode("ascii", "ignore").decode())
        return [self._decode([token]) for token in tokens[:max_tokens]]


def _fill_schema(body: Mapping[str, Any], rng: random.Random) -> str:
    """Return JSON of the request's schema with random enum values, or "" without a schema."""
    response_format: Mapping[str, Any] = body.get("response_format") or {}
    json_schema: Mapping[str, Any] = response_format.get("json_schema") or {}
    schema: Mapping[str, Any] = json_schema.get("schema") or {}
    properties: Mapping[str, Mapping[str, Sequence[Any]]] = schema.get("properties") or {}
    values = {name: rng.choice(row["enum"]) for name, row in properties.items()}
    return json.dumps(values) if values else ""


def completion(text: str, finish: str, token_counts: tuple[int, int] | None) -> dict[str, Any]:
    """Return a chat completion; `token_counts` is (prompt, answer), and None omits the usage."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    usage = {"usage": usage_fields(*token_counts)} if token_counts is not None else {}
    return {**chunk_head("chat.completion"), "choices": [choice], **usage}


def choose_failure(question: str, rates: Mapping[str, float], rng: random.Random) -> str:
    """Return the failure that the question names, or a random one by the rates; "" for none."""
    for name in FAILURES:
        if f"({name})" in question:
            return name
    point, cumulative = rng.random(), 0.0
    for name, rate in rates.items():
        cumulative += rate
        if point < cumulative:
            return name
    return ""


def _content_words(text: str) -> set[str]:
    """Return the content words of a text, in lower case."""
    return {word for word in re.findall(r"[a-z]+", text.casefold()) if len(word) >= _MIN_LETTERS}


def _encoder() -> tuple[Callable[[str], list[int]], Callable[[list[int]], str]]:
    """Return OpenAI's tokenizer as (encode, decode), from LiteLLM's files without a download."""
    specification = importlib.util.find_spec("litellm")
    if specification is not None and specification.origin:
        folder = Path(specification.origin).parent / "litellm_core_utils" / "tokenizers"
        os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(folder))
    import tiktoken

    encoding = tiktoken.get_encoding("o200k_base")

    def encode(text: str) -> list[int]:
        return encoding.encode(text, disallowed_special=())

    return encode, encoding.decode


def chunk_head(kind: str = "chat.completion.chunk") -> dict[str, Any]:
    """Return the common fields of a completion and of each chunk of a stream."""
    return {"id": "chatcmpl-paid", "object": kind, "created": int(time.time()), "model": "paid"}


def usage_fields(prompt: int, answer: int) -> dict[str, int]:
    """Return the API's usage fields with these token counts."""
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}
