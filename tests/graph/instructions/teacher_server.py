"""Serve a simulated teacher with OpenAI's API, which fails on request.

Scope: the server and the failures of real servers. Out of scope: assertions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.http_server import Request, Response, http_server

PROMPT_TOKENS, ANSWER_TOKENS = 200, 20
HANG_S = 2.0
OK, NO_CHOICES, NULL_CHOICES, EMPTY, LONG, HTML, TRUNCATED, HANG = (
    "ok", "no choices", "null choices", "empty", "long", "html", "truncated", "hang",
)  # fmt: skip
Behavior = Callable[[str, int], str]
"""(passage, number of earlier requests for it) → one of the above, or an HTTP status as text."""


class TeacherServer:
    """A teacher that asks about two words of the passage, or fails according to its behavior.

    Attributes:
        passages: the passage of each request, in order.
        request_times: `time.monotonic()` of each request.
    """

    def __init__(self) -> None:
        self.behavior: Behavior = lambda _passage, _earlier_requests: OK
        self.passages: list[str] = []
        self.request_times: list[float] = []
        self.lock = threading.Lock()
        self.url = ""


@contextmanager
def start_teacher_server() -> Iterator[TeacherServer]:
    teacher = TeacherServer()

    def respond(request: Request) -> Response:
        passage = request.document["messages"][-1]["content"].split("Passage:\n")[1]
        with teacher.lock:
            earlier_requests = teacher.passages.count(passage)
            teacher.passages.append(passage)
            teacher.request_times.append(time.monotonic())
            number = len(set(teacher.passages))
        behavior = teacher.behavior(passage, earlier_requests)
        if behavior == HANG:
            time.sleep(HANG_S)
        if behavior == TRUNCATED:
            return Response('{"id": ', headers={"Content-Length": "900"})
        if behavior in {HANG, HTML}:
            return Response("<html>busy</html>")
        if behavior.isdigit():
            headers = {"Retry-After": "1"} if behavior == "429" else {}
            return Response({"error": {"message": "simulated failure"}}, int(behavior), headers)
        return Response(build_completion(behavior, passage, number))

    with http_server(respond) as url:
        teacher.url = f"{url}/v1"
        yield teacher


def build_completion(behavior: str, passage: str, number: int) -> dict[str, Any]:
    words = passage.split()
    question = f'"What happens to the {words[1]} and the {words[4]}, {number} times?"'
    question = {EMPTY: "", LONG: "and so on " * 60}.get(behavior, question)
    message = {"role": "assistant", "content": question}
    choices: Any = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": ANSWER_TOKENS,
        "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
    }
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "teacher",
        "choices": {NO_CHOICES: [], NULL_CHOICES: None}.get(behavior, choices),
        "usage": usage,
    }
