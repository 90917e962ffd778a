"""A language model's stand-in that rates: an OpenAI-compatible server in this process.

Belongs here: what a paid API would be asked and answers. Does not belong here: the rubrics and what
is claimed of them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class RatingServer(ThreadingHTTPServer):
    """Keeps the prompts; `reply` says what is said to one's answer.

    Attributes:
        prompts, formats: in the order of asking.
        refuses_formats: a request with one is answered with 400.
        whole: whether `reply` is shown the prompt instead of the answer in it.
    """

    def __init__(self, reply: Callable[[str], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Reply)
        self.reply = reply
        self.prompts: list[str] = []
        self.formats: list[dict[str, Any]] = []
        self.refuses_formats = False
        self.whole = False


class _Reply(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, RatingServer)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        if server.refuses_formats and body.get("response_format"):
            self.answer(400, {"error": {"message": "an unknown key", "code": "key_not_allowed"}})
            return
        server.prompts.append(prompt)
        server.formats.append(body.get("response_format") or {})
        answer = prompt.split("<answer>\n")[1].split("\n</answer>")[0]
        shown = prompt if server.whole else answer
        message = {"role": "assistant", "content": server.reply(shown)}
        document = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "judge",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        self.answer(200, document)

    def answer(self, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


@contextmanager
def serving(reply: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Iterator[RatingServer]:
    """The server, as LiteLLM's `openai/...` models find it."""
    server = RatingServer(reply)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
