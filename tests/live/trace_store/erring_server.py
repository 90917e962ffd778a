"""A trace store that misbehaves on demand: a real server in front of the real one.

Scope: the ways in which a server or a network fails. Out of scope: assertions.
Every request that is not made to fail is passed on, so what arrived can be counted in the store.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

PAGE = b"<html><body>Please accept the terms of this network.</body></html>"


class ErringServer:
    """Passes on to `behind`, after the failures in `plan` (one a request) are used up.

    Failures: a status number; `("429", seconds)`; `garbage` (200, a web page); `half` (the answer
    breaks off); `silence` (the connection closes); `lost` (passed on, but the answer is not).
    """

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.plan: list[Any] = []
        self.seen: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.answer(self)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length") or 0)
        body = request.rfile.read(length)
        self.seen.append((request.command, request.path))
        failure = self.plan.pop(0) if self.plan else None
        if failure in (None, "lost", "half"):
            response = self._pass_on(request, body)
        if failure in {"silence", "lost"}:
            request.close_connection = True
            return
        if failure == "half":
            request.send_response(200)
            request.send_header("content-type", "application/json")
            request.send_header("content-length", str(len(response.content)))
            request.end_headers()
            request.wfile.write(response.content[: len(response.content) // 2])
            request.close_connection = True
            return
        if failure == "garbage":
            self._say(request, 200, PAGE, {"content-type": "text/html"})
        elif isinstance(failure, tuple):
            self._say(request, int(failure[0]), b"slow down", {"retry-after": str(failure[1])})
        elif isinstance(failure, int):
            self._say(request, failure, b'{"message": "no"}', {})
        else:
            kind = {"content-type": response.headers["content-type"]}
            self._say(request, response.status_code, response.content, kind)

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> httpx.Response:
        kept = ("authorization", "content-type", "content-encoding", "x-langfuse-ingestion-version")
        headers = {name: request.headers[name] for name in kept if request.headers[name]}
        return httpx.request(
            request.command,
            self.behind + request.path,
            content=body,
            headers=headers,
            trust_env=False,
            timeout=120,
        )

    def _say(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        request.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


@contextmanager
def erring_server(behind: str) -> Iterator[ErringServer]:
    """Run an erring server until the block ends."""
    server = ErringServer(behind)
    thread = threading.Thread(target=server.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        thread.join(10)
