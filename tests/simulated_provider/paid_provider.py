"""A paid provider that is none: OpenAI's chat API with a price, a bill, and every way to fail.

Scope: the process and its HTTP. Out of scope: what it answers, when it fails and
what it charges (`provider_answers.py`), the gateway's own account, which is held against this bill.

    python -m tests.simulated_provider.paid_provider --port 9000 --bill bill.jsonl

It prints its address and then one line a request to the bill: `{"outcome", "prompt_tokens",
"answer_tokens", "nano"}`, whole nano-dollars. It charges as OpenAI does: the prompt and each token
that it has sent, also of a stream that broke off or was left; for a refusal nothing.
Which requests fail is drawn from the seed, or said in the question: `(429)`, `(500)`, `(hang)`,
`(cut)` (the connection ends before an answer), `(broken)` (a stream ends in the middle),
`(no usage)`, `(long)` (as many tokens as were allowed). Who asks for a JSON schema of enumerated
values, as the judges do, gets a whole object that holds to it, drawn by the seed. What it says is
drawn, too; one that `reads` answers with the paragraph of its prompt that a question has most in
common with, else with empty phrases: judges find it better where its prompt has something to say.
"""
# pyright: strict

from __future__ import annotations

import argparse
import json
import select
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.simulated_provider.provider_answers import (
    Behaviour,
    ProviderAnswers,
    chunk_head,
    completion,
    failure_of,
    usage_of,
)

_HANG_S = 30.0
RETRY_AFTER_S = 7  # said with a 429
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class PaidProvider(ProviderAnswers):
    """The provider; `start` it, ask it at `url`, `end` it."""

    def __init__(self, behaviour: Behaviour, bill: Path, *, port: int = 0) -> None:
        super().__init__(behaviour, bill)
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
            self._json(404, _error("no such path"))

    def do_POST(self) -> None:
        """One chat completion."""
        size = int(self.headers.get("content-length", 0))
        sent = self.rfile.read(size)
        if not self.path.endswith("/chat/completions"):
            self._json(404, _error("no such path"))
            return
        body: dict[str, Any] = json.loads(sent)
        provider, draw = self.provider, self.provider.draw()
        behaviour = provider.behaviour
        fails = failure_of(str(body["messages"][-1]["content"]), behaviour.rates, draw)
        prompt = provider.tokens(body["messages"])
        time.sleep(draw.expovariate(1 / behaviour.latency_s) if behaviour.latency_s else 0.0)
        if fails in {"429", "500"}:
            provider.bill.charge(behaviour, fails, prompt=0, answer=0)
            limited = fails == "429"
            self._json(
                int(fails),
                _error(
                    "the engine of this provider is busy",
                    code="rate_limit_exceeded" if limited else None,
                ),
                headers={"retry-after": str(RETRY_AFTER_S)} if limited else {},
            )
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
        # without it a client may send its next request on the connection that is about to close
        self.send_header("connection", "close")
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
                self._data({**chunk_head(), "choices": [], "usage": usage_of(prompt, sent)})
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")  # without this end the stream has broken off
        except OSError:
            self.close_connection = True  # charged already; nobody reads its end

    def _is_left(self) -> bool:
        """Whether the client has closed: nothing more is expected of it, so any byte is its end."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable)

    def _event(self, choice: Mapping[str, Any]) -> None:
        self._data({**chunk_head(), "choices": [choice]})

    def _data(self, document: Mapping[str, Any]) -> None:
        self._chunk(f"data: {json.dumps(document)}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _json(
        self, status: int, document: Mapping[str, Any], *, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _error(message: str, *, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "provider_error", "param": None, "code": code}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the process is told to end; prints the address first."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulated_provider.paid_provider")
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
