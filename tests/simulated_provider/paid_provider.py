"""A simulated paid provider: OpenAI's chat API with a price, a bill, and every kind of failure.

Scope: the process and its HTTP server. Out of scope: its answers, failures and charges
(`provider_answers.py`), the gateway's account, which tests compare with this bill.

    python -m tests.simulated_provider.paid_provider --port 9000 --bill bill.jsonl

It prints its URL. For each request it writes a line to the bill: `{"outcome", "prompt_tokens",
"answer_tokens", "nano"}`, in whole nano-dollars. It charges as OpenAI does: for the prompt and each
token sent, even if a stream broke off or the client left, but nothing for a refusal.

Failures are drawn from the seed, or named in the question: `(429)`, `(500)`, `(hang)`, `(cut)` (the
connection ends before an answer), `(broken)` (a stream ends in the middle), `(no usage)`, `(long)`
(as many tokens as were allowed). If a request has a JSON schema of enumerated values, as judges'
requests do, the answer is an object of that schema with random values. Other answers are random
words. With `reads`, the answer is the paragraph of the prompt that has the most words in common
with the question, or empty phrases if no paragraph has enough; judges then prefer this provider
where its prompt is relevant.
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
    Behavior,
    ProviderAnswers,
    choose_failure,
    chunk_head,
    completion,
    usage_fields,
)

_HANG_S = 30.0
RETRY_AFTER_S = 7  # in the header of a 429 response
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class PaidProvider(ProviderAnswers):
    """The provider: `start` it, send requests to `url`, `end` it."""

    def __init__(self, behavior: Behavior, bill: Path, *, port: int = 0) -> None:
        super().__init__(behavior, bill)

        class Handler(_Handler):
            provider = self

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The base URL, which ends in `/v1`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def start(self) -> None:
        """Serve in a thread."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(self) -> None:
        """Serve until the process is terminated."""
        self._server.serve_forever()

    def end(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    provider: PaidProvider
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log."""

    def do_POST(self) -> None:
        """Return a chat completion, or fail as drawn."""
        size = int(self.headers.get("content-length", 0))
        content = self.rfile.read(size)
        if not self.path.endswith("/chat/completions"):
            self._json(404, _error("no such path"))
            return
        body: dict[str, Any] = json.loads(content)
        provider, rng = self.provider, self.provider.next_random()
        behavior = provider.behavior
        failure = choose_failure(str(body["messages"][-1]["content"]), behavior.rates, rng)
        prompt = provider.count_prompt_tokens(body["messages"])
        time.sleep(rng.expovariate(1 / behavior.latency_s) if behavior.latency_s else 0.0)
        if failure in {"429", "500"}:
            provider.bill.charge(behavior, failure, prompt=0, answer=0)
            is_rate_limited = failure == "429"
            self._json(
                int(failure),
                _error(
                    "the engine of this provider is busy",
                    code="rate_limit_exceeded" if is_rate_limited else None,
                ),
                headers={"retry-after": str(RETRY_AFTER_S)} if is_rate_limited else {},
            )
            return
        words, length, finish = provider.write(body, failure, rng)
        if body.get("stream"):
            self._stream(body, words, finish, prompt, failure)
        elif failure in {"hang", "cut", "broken"}:
            # computed but never delivered, and still charged
            provider.bill.charge(behavior, failure, prompt=prompt, answer=length)
            if failure == "hang":
                time.sleep(_HANG_S)
            self.close_connection = True
        else:
            provider.bill.charge(behavior, "whole", prompt=prompt, answer=length)
            token_counts = (prompt, length) if failure != "no usage" else None
            self._json(200, completion("".join(words), finish, token_counts))

    def _stream(
        self, body: Mapping[str, Any], words: list[str], finish: str, prompt: int, failure: str
    ) -> None:
        provider = self.provider
        if failure == "cut":
            provider.bill.charge(provider.behavior, failure, prompt=prompt, answer=len(words))
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        # Otherwise a client may send its next request on this connection, which is about to close.
        self.send_header("connection", "close")
        self.end_headers()
        sent_count, outcome = 0, "stream"
        word_count = max(1, len(words) // 2) if failure == "broken" else len(words)
        try:
            for word in words[:word_count]:
                if self._has_client_left():
                    raise BrokenPipeError
                sent_count += 1
                self._event({"delta": {"role": "assistant", "content": word}, "index": 0})
                time.sleep(provider.behavior.token_s)
            if failure == "hang":
                time.sleep(_HANG_S)
        except OSError:
            outcome = "left"
        if failure == "broken" and outcome == "stream":
            outcome = failure
        provider.bill.charge(provider.behavior, outcome, prompt=prompt, answer=sent_count)
        self.close_connection = True
        if outcome != "stream":
            return
        try:
            self._event({"delta": {}, "index": 0, "finish_reason": finish})
            options: Mapping[str, Any] = body.get("stream_options") or {}
            if options.get("include_usage") and failure != "no usage":
                self._data(
                    {**chunk_head(), "choices": [], "usage": usage_fields(prompt, sent_count)}
                )
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")  # ends the stream; otherwise the client sees a broken stream
        except OSError:
            self.close_connection = True  # charged already; the client left before the end

    def _has_client_left(self) -> bool:
        """Return whether the client has closed the connection, which then becomes readable."""
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
    """Print the URL and serve until the process is terminated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulated_provider.paid_provider")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bill", type=Path, required=True)
    parser.add_argument("--rate", action="append", default=[], metavar="FAILURE=PROBABILITY")
    options = parser.parse_args(arguments)
    rates = {name: float(rate) for name, _, rate in (rate.partition("=") for rate in options.rate)}
    provider = PaidProvider(Behavior(rates=rates), options.bill, port=options.port)
    sys.stdout.write(provider.url + "\n")
    sys.stdout.flush()
    provider.serve()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
