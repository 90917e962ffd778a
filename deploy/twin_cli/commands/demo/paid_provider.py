"""A paid provider that is none: OpenAI's chat API with a price, a bill, and every way to fail.

Belongs here: the process, what it answers, when it fails, and what it charges.
Does not belong here: the gateway's own account, which is held against this bill.

    python -m twin_cli.commands.demo.paid_provider --port 9000 --bill bill.jsonl

It prints its address and then one line a request to the bill: `{"outcome", "prompt_tokens",
"answer_tokens", "nano"}`, whole nano-dollars. It charges as OpenAI does: the prompt and each token
that it has sent, also of a stream that broke off or was left; for a refusal nothing.
Which requests fail is drawn from the seed, or said in the question: `(429)`, `(500)`, `(hang)`,
`(cut)` (the connection ends before an answer), `(broken)` (a stream ends in the middle),
`(no usage)`, `(long)` (as many tokens as were allowed). Who asks for a JSON schema of enumerated
values, as the judges do, gets a whole object that holds to it, drawn by the seed. What it says is
drawn, too; one that `reads` answers with the paragraph of its prompt that a question has most in
common with, else with empty phrases: judges find it better where its prompt has something to say.
Its batch endpoint (`paid_batches.py`) charges half.
Counting: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
"""
# pyright: strict

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import random
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from twin_cli.commands.demo.paid_batches import PaidBatches

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
_HANG_S = 30.0
_TELLING = 5  # letters: `about`, `clock`; shorter ones stand everywhere
_FEWEST_COMMON = 3  # telling words that a question shares with the paragraph it is answered from


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
        batch_s: until a batch has ended, on average; drawn by batch.
    """

    prompt_nano: int = 150  # gpt-4o-mini's $0.15 and $0.60 a million
    answer_nano: int = 600
    latency_s: float = 0.02
    token_s: float = 0.002
    rates: Mapping[str, float] = field(default_factory=dict[str, float])
    reads: bool = False
    seed: int = 0
    batch_s: float = 0.2


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


class PaidProvider:
    """The provider; `start` it, ask it at `url`, `end` it."""

    def __init__(self, behaviour: Behaviour, bill: Path, *, port: int = 0) -> None:
        self.behaviour = behaviour
        self.bill = Bill(bill)
        self._numbers = itertools.count()
        self._encode, self._decode = _encoder()
        self.batches = PaidBatches(self)
        provider = self

        class Handler(_Handler):
            pass

        Handler.provider = provider
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Its base address, ends in `/v1`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(self) -> None:
        """Serve until the process is told to end."""
        self._server.serve_forever()

    def end(self) -> None:
        """Take no more requests."""
        self._server.shutdown()
        self._server.server_close()

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._encode(text))

    def draw(self) -> random.Random:
        """The random numbers of the next request."""
        return random.Random(self.behaviour.seed * 1_000_003 + next(self._numbers))

    def tokens(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """Tokens of a prompt, counted as OpenAI's cookbook does."""
        return 3 + sum(
            3 + len(self._encode(str(one["role"]))) + len(self._encode(str(one["content"])))
            for one in messages
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
        common = [len(asked_about & _telling(one)) for one in paragraphs]
        if max(common, default=0) >= _FEWEST_COMMON:
            head, _, text = paragraphs[common.index(max(common))].partition("\n")
            phrase = text or head  # a passage's first line is its number and title
        else:
            draw = random.Random(f"{self.behaviour.seed} {question}")
            phrase = " ".join(draw.choices(_PHRASES, k=draw.randint(1, 6)))
        # one ASCII character is never a part of a token, so that each piece is one
        tokens = self._encode(phrase.encode("ascii", "ignore").decode())
        return [self._decode([token]) for token in tokens[:allowed]]


class _Handler(BaseHTTPRequestHandler):
    provider: PaidProvider
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """No line a request: prompts are nobody's business."""

    def do_GET(self) -> None:
        """The list of models, and the bill so far."""
        bill = self.provider.bill
        if self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": "paid", "object": "model"}]})
        elif self.path == "/bill":
            self._json(200, {"nano": bill.nano, "requests": bill.requests})
        else:
            self._of_batches(b"")

    def do_DELETE(self) -> None:
        """A file goes."""
        self._of_batches(b"")

    def _of_batches(self, sent: bytes) -> None:
        answer = self.provider.batches.respond(
            self.command, self.path, sent, self.headers.get("content-type", "")
        )
        if isinstance(answer, bytes):
            self._send(200, answer, "application/jsonl")
        elif answer is None:
            self._json(404, _error("no such path"))
        else:
            self._json(200, answer)

    def do_POST(self) -> None:
        """One chat completion, or a part of the batch API."""
        size = int(self.headers.get("content-length", 0))
        sent = self.rfile.read(size)
        if not self.path.endswith("/chat/completions"):
            self._of_batches(sent)
            return
        body: dict[str, Any] = json.loads(sent)
        provider, draw = self.provider, self.provider.draw()
        behaviour = provider.behaviour
        fails = failure_of(str(body["messages"][-1]["content"]), behaviour.rates, draw)
        prompt = provider.tokens(body["messages"])
        time.sleep(draw.expovariate(1 / behaviour.latency_s) if behaviour.latency_s else 0.0)
        if fails in {"429", "500"}:
            provider.bill.charge(behaviour, fails, prompt=0, answer=0)
            self._json(int(fails), _error("try again later"))
            return
        words, length, finish = provider.write(body, fails, draw)
        if body.get("stream"):
            self._stream(body, words, finish, prompt, fails)
        elif fails in {"hang", "cut", "broken"}:
            # computed and never delivered: that is charged
            provider.bill.charge(behaviour, fails, prompt=prompt, answer=length)
            if fails == "hang":
                time.sleep(_HANG_S)
            self.close_connection = True
        else:
            provider.bill.charge(behaviour, "whole", prompt=prompt, answer=length)
            used = (prompt, length) if fails != "no usage" else None
            self._json(200, completion("".join(words), finish, used))

    def _stream(
        self, body: Mapping[str, Any], words: list[str], finish: str, prompt: int, fails: str
    ) -> None:
        provider = self.provider
        if fails == "cut":
            provider.bill.charge(provider.behaviour, fails, prompt=prompt, answer=len(words))
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        sent, outcome = 0, "stream"
        stops = max(1, len(words) // 2) if fails == "broken" else len(words)
        try:
            for word in words[:stops]:
                if self._is_left():
                    raise BrokenPipeError
                sent += 1
                self._event({"delta": {"role": "assistant", "content": word}, "index": 0})
                time.sleep(provider.behaviour.token_s)
            if fails == "hang":
                time.sleep(_HANG_S)
        except OSError:
            outcome = "left"
        if fails == "broken" and outcome == "stream":
            outcome = fails
        provider.bill.charge(provider.behaviour, outcome, prompt=prompt, answer=sent)
        self.close_connection = True
        if outcome != "stream":
            return
        try:
            self._event({"delta": {}, "index": 0, "finish_reason": finish})
            options: Mapping[str, Any] = body.get("stream_options") or {}
            if options.get("include_usage") and fails != "no usage":
                self._data({**_head(), "choices": [], "usage": _usage(prompt, sent)})
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")  # without this end the stream has broken off
        except OSError:
            self.close_connection = True  # charged already; nobody reads its end

    def _is_left(self) -> bool:
        """Whether the client has closed: nothing more is expected of it, so any byte is its end."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable)

    def _event(self, choice: Mapping[str, Any]) -> None:
        self._data({**_head(), "choices": [choice]})

    def _data(self, document: Mapping[str, Any]) -> None:
        self._chunk(f"data: {json.dumps(document)}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _json(self, status: int, document: Mapping[str, Any]) -> None:
        self._send(status, json.dumps(document).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


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
    usage = {"usage": _usage(*used)} if used is not None else {}
    return {**_head("chat.completion"), "choices": [choice], **usage}


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


def _head(kind: str = "chat.completion.chunk") -> dict[str, Any]:
    return {"id": "chatcmpl-paid", "object": kind, "created": int(time.time()), "model": "paid"}


def _usage(prompt: int, answer: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
    }


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "provider_error", "param": None, "code": None}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the process is told to end; prints the address first."""
    parser = argparse.ArgumentParser(prog="python -m twin_cli.commands.demo.paid_provider")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bill", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompt-nano", type=int, default=Behaviour.prompt_nano)
    parser.add_argument("--answer-nano", type=int, default=Behaviour.answer_nano)
    parser.add_argument("--latency-s", type=float, default=Behaviour.latency_s)
    parser.add_argument("--token-s", type=float, default=Behaviour.token_s)
    parser.add_argument("--reads", action="store_true", help="answer from the prompt")
    parser.add_argument("--rate", action="append", default=[], metavar="FAILURE=PROBABILITY")
    chosen = parser.parse_args(arguments)
    rates = {name: float(rate) for name, _, rate in (one.partition("=") for one in chosen.rate)}
    behaviour = Behaviour(
        chosen.prompt_nano,
        chosen.answer_nano,
        chosen.latency_s,
        chosen.token_s,
        rates,
        chosen.reads,
        chosen.seed,
    )
    provider = PaidProvider(behaviour, chosen.bill, port=chosen.port)
    sys.stdout.write(provider.url + "\n")
    sys.stdout.flush()
    provider.serve()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
