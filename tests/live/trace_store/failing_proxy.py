"""A proxy in front of the real trace store that fails on demand.

Scope: failures of a server or a network. Out of scope: assertions.
Every other request is forwarded, so that a test can count the results in the store.
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
    """Forwards requests to `upstream`, except that each entry of `plan` makes one request fail.

    The entries are a status number, `("429", seconds)`, `garbage` (200 with a web page), `half`
    (half of the response), `silence` (the connection closes) or `lost` (the request is forwarded,
    but its response is dropped).
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.plan: list[Any] = []
        self.requests: list[tuple[str, str]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                proxy.answer(self)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                """Write no access log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length") or 0)
        body = request.rfile.read(length)
        self.requests.append((request.command, request.path))
        failure = self.plan.pop(0) if self.plan else None
        if failure in (None, "lost", "half"):
            response = self._forward(request, body)
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
            self._send(request, 200, PAGE, {"content-type": "text/html"})
        elif isinstance(failure, tuple):
            self._send(request, int(failure[0]), b"slow down", {"retry-after": str(failure[1])})
        elif isinstance(failure, int):
            self._send(request, failure, b'{"message": "no"}', {})
        else:
            kind = {"content-type": response.headers["content-type"]}
            self._send(request, response.status_code, response.content, kind)

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> httpx.Response:
        names = (
            *("authorization", "content-type", "content-encoding"),
            "x-langfuse-ingestion-version",
        )
        headers = {name: request.headers[name] for name in names if request.headers[name]}
        return httpx.request(
            request.command,
            self.upstream + request.path,
            content=body,
            headers=headers,
            trust_env=False,
            timeout=120,
        )

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        request.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


@contextmanager
def erring_server(upstream: str) -> Iterator[ErringServer]:
    """Run an erring server until the block ends."""
    server = ErringServer(upstream)
    thread = threading.Thread(target=server.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        thread.join(10)
