"""An OpenAI-compatible teacher over HTTP that behaves as badly as it is told to.

Belongs here: the server and the ways in which real ones fail. Does not belong here: assertions.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROMPT_TOKENS, ANSWER_TOKENS = 200, 20
HANG_S = 2.0
OK, NO_CHOICES, NULL_CHOICES, EMPTY, LONG, HTML, CUT, HANG = (
    "ok", "no choices", "null choices", "empty", "long", "html", "cut", "hang",
)  # fmt: skip
Behaviour = Callable[[str, int], str]
"""(passage, how often it was asked about before) → one of the above, or an HTTP status as text."""


class TeacherServer:
    """Asks about two words of the passage, unless its behaviour says otherwise.

    Attributes:
        asked: the passages, one a request, in the order of the requests.
        asked_at: `time.monotonic()` of each.
    """

    def __init__(self) -> None:
        self.behaviour: Behaviour = lambda _passage, _times: OK
        self.asked: list[str] = []
        self.asked_at: list[float] = []
        self.lock = threading.Lock()
        self.url = ""


@contextmanager
def teacher_server() -> Iterator[TeacherServer]:
    teacher = TeacherServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            passage = body["messages"][-1]["content"].split("Passage:\n")[1]
            with teacher.lock:
                times = teacher.asked.count(passage)
                teacher.asked.append(passage)
                teacher.asked_at.append(time.monotonic())
                number = len(set(teacher.asked))
            how = teacher.behaviour(passage, times)
            if how == HANG:
                time.sleep(HANG_S)
            elif how == CUT:
                self.answer(200, b'{"id": ', length=900)
            elif how == HTML:
                self.answer(200, b"<html>busy</html>", kind="text/html")
            elif how.isdigit():
                self.answer(int(how), b'{"error": {"message": "told to"}}')
            else:
                self.answer(200, completion(how, passage, number))

        def answer(
            self, status: int, body: bytes, *, kind: str = "application/json", length: int = 0
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length or len(body)))
            if status == 429:
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    teacher.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield teacher
    finally:
        server.shutdown()
        server.server_close()


def completion(how: str, passage: str, number: int) -> bytes:
    words = passage.split()
    said = f'"What happens to the {words[1]} and the {words[4]}, {number} times?"'
    said = {EMPTY: "", LONG: "and so on " * 60}.get(how, said)
    message = {"role": "assistant", "content": said}
    choices: Any = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": ANSWER_TOKENS,
        "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
    }
    return json.dumps(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "teacher",
            "choices": {NO_CHOICES: [], NULL_CHOICES: None}.get(how, choices),
            "usage": usage,
        }
    ).encode()
