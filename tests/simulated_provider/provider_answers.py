"""What the simulated provider says, when it fails, and what it charges.

Scope: the words of an answer, the failures, the bill. Out of scope: HTTP
(`paid_provider.py`).

Counting: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
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
# Each with its leading space is one token of o200k_base.
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
_TELLING = 5  # letters: `about`, `clock`; shorter ones stand everywhere
_MIN_COMMON = 3  # telling words that a question shares with the paragraph it is answered from


@dataclass(frozen=True)
class Behaviour:
    """What a provider does.

    Attributes:
        prompt_nano, answer_nano: price of one token, nano-dollars.
        latency_s: before the first byte, on average; drawn by request.
        token_s: between two tokens of a stream.
        rates: probability of a failure, by its name in `FAILURES`.
        reads: whether it answers from its prompt where that has something about the question.
        seed: of every draw.
    """

    prompt_nano: int = 150  # gpt-4o-mini's $0.15 and $0.60 a million
    answer_nano: int = 600
    latency_s: float = 0.02
    token_s: float = 0.002
    rates: Mapping[str, float] = field(default_factory=dict[str, float])
    reads: bool = False
    seed: int = 0


@dataclass
class Bill:
    """What was charged, in whole nano-dollars, by request; written as it is known."""

    path: Path
    nano: int = 0
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def charge(self, behaviour: Behaviour, outcome: str, *, prompt: int, answer: int) -> None:
        """Write one request down."""
        nano = prompt * behaviour.prompt_nano + answer * behaviour.answer_nano
        line = {
            "outcome": outcome,
            "prompt_tokens": prompt,
            "answer_tokens": answer,
            "nano": nano,
        }
        with self._lock:
            self.nano += nano
            self.requests += 1
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")


def read_bill(path: Path) -> list[dict[str, Any]]:
    """The lines of a bill, oldest first; none before the first request."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class ProviderAnswers:
    """Answers by a behaviour, with their bill; the same seed says the same in the same order."""

    def __init__(self, behaviour: Behaviour, bill: Path) -> None:
        self.behaviour = behaviour
        self.bill = Bill(bill)
        self._numbers = itertools.count()
        self._encode, self._decode = _encoder()

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._encode(text))

    def draw(self) -> random.Random:
        """The random numbers of the next request."""
        return random.Random(self.behaviour.seed * 1_000_003 + next(self._numbers))

    def tokens(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """Tokens of a prompt, counted as OpenAI's cookbook does."""
        return 3 + sum(
            3 + len(self._encode(str(message["role"]))) + len(self._encode(str(message["content"])))
            for message in messages
        )

    def write(
        self, body: Mapping[str, Any], fails: str, draw: random.Random
    ) -> tuple[list[str], int, str]:
        """The pieces of the answer to a request, how many tokens they are, and why it ends."""
        allowed = int(body.get("max_tokens") or body.get("max_completion_tokens") or 64)
        if rating := _by_schema(body, draw):
            words, length = [rating], self.count(rating)
        elif self.behaviour.reads and fails not in {"long", "hang"}:
            words = self.read(body["messages"], allowed)
            length = len(words)
        else:
            length = allowed if fails in {"long", "hang"} else min(allowed, draw.randint(3, 40))
            words = [" " + draw.choice(WORDS) for _ in range(length)]
        return words, length, "length" if length == allowed else "stop"

    def read(self, messages: Sequence[Mapping[str, Any]], allowed: int) -> list[str]:
        """The tokens of an answer from the prompt's own paragraphs, or of empty phrases.

        The same prompt has the same answer, in whichever order requests come.
        """
        *paragraphs, question = str(messages[-1]["content"]).split("\n\n")
        asked_about = _telling(question)
        common = [len(asked_about & _telling(paragraph)) for paragraph in paragraphs]
        if max(common, default=0) >= _MIN_COMMON:
            head, _, text = paragraphs[common.index(max(common))].partition("\n")
            phrase = text or head  # a passage's first line is its number and title
        else:
            draw = random.Random(f"{self.behaviour.seed} {question}")
            phrase = " ".join(draw.choices(_PHRASES, k=draw.randint(1, 6)))
        # one ASCII character is never a part of a token, so that each piece is one
        tokens = self._encode(phrase.encode("ascii", "ignore").decode())
        return [self._decode([token]) for token in tokens[:allowed]]


def _by_schema(body: Mapping[str, Any], draw: random.Random) -> str:
    """An object by the schema that is asked for, a value of each property's `enum`; empty: none."""
    format: Mapping[str, Any] = body.get("response_format") or {}
    named: Mapping[str, Any] = format.get("json_schema") or {}
    schema: Mapping[str, Any] = named.get("schema") or {}
    properties: Mapping[str, Mapping[str, Sequence[Any]]] = schema.get("properties") or {}
    chosen = {name: draw.choice(kind["enum"]) for name, kind in properties.items()}
    return json.dumps(chosen) if chosen else ""


def completion(text: str, finish: str, used: tuple[int, int] | None) -> dict[str, Any]:
    """A whole answer; `used` are the tokens of prompt and answer, where it tells them."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    usage = {"usage": usage_of(*used)} if used is not None else {}
    return {**chunk_head("chat.completion"), "choices": [choice], **usage}


def failure_of(question: str, rates: Mapping[str, float], draw: random.Random) -> str:
    """The failure that the question names, else one drawn by its rate; empty: none."""
    for name in FAILURES:
        if f"({name})" in question:
            return name
    point, reached = draw.random(), 0.0
    for name, rate in rates.items():
        reached += rate
        if point < reached:
            return name
    return ""


def _telling(text: str) -> set[str]:
    """The words that say what a text is about."""
    return {word for word in re.findall(r"[a-z]+", text.casefold()) if len(word) >= _TELLING}


def _encoder() -> tuple[Callable[[str], list[int]], Callable[[list[int]], str]]:
    """OpenAI's tokenizer and its way back, from LiteLLM's files: nothing is fetched."""
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
    """What every document of an answer begins with."""
    return {"id": "chatcmpl-paid", "object": kind, "created": int(time.time()), "model": "paid"}


def usage_of(prompt: int, answer: int) -> dict[str, int]:
    """Tokens as the API tells them."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
    }
