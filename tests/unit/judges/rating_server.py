"""Simulate a rating language model with an OpenAI-compatible server in this process.

Scope: the requests to the model, and its replies. Out of scope: prices, and the judge's tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.http_server import Request, Response, http_server


class RatingServer:
    """A server that records each prompt and returns the text of `reply`.

    Attributes:
        reply: a function from the answer in a prompt to the server's text.
        prompts, response_formats: the prompt and response format of each request, in order.
        rejects_response_formats: whether a request with a response format gets status 400.
        passes_whole_prompt: whether `reply` receives the whole prompt instead of the answer in it.
    """

    def __init__(self, reply: Callable[[str], str]) -> None:
        self.reply = reply
        self.prompts: list[str] = []
        self.response_formats: list[dict[str, Any]] = []
        self.rejects_response_formats = False
        self.passes_whole_prompt = False

    def handle_request(self, request: Request) -> Response:
        body = request.document
        prompt = body["messages"][0]["content"]
        if self.rejects_response_formats and body.get("response_format"):
            return Response(
                {"error": {"message": "an unknown key", "code": "key_not_allowed"}}, 400
            )
        self.prompts.append(prompt)
        self.response_formats.append(body.get("response_format") or {})
        answer = prompt.split("<answer>\n")[1].split("\n</answer>")[0]
        message = {
            "role": "assistant",
            "content": self.reply(prompt if self.passes_whole_prompt else answer),
        }
        document = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "judge",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        return Response(document)


@contextmanager
def run_rating_server(
    reply: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RatingServer]:
    """Run the server, and point LiteLLM's `openai/...` models to it."""
    server = RatingServer(reply)
    with http_server(server.handle_request) as url:
        monkeypatch.setenv("OPENAI_API_BASE", f"{url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield server
