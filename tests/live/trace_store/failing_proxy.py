"""Run a proxy in front of the real trace store that fails on demand.

Scope: failures of a server or a network. Out of scope: assertions.
All other requests are forwarded, so that a test can count the results in the store.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.langfuse_answers import LANGFUSE_ANSWERS

CAPTIVE_PORTAL_PAGE = b"<html><body>Please accept the terms of this network.</body></html>"


class FailingProxy:
    """Forwards requests to `upstream`, except that each entry of `failures` makes one request fail.

    An entry is a status number, `("429", seconds)`, `garbage` (200 with a web page), `half` (half
    of the response), `silence` (the connection closes), `lost` (the request is forwarded, but its
    response is dropped) or None (no failure).

    Args:
        acknowledges_like_langfuse: answer each stored trace export with what Langfuse
            answered: the job that it has queued.
    """

    def __init__(self, upstream: str, *, acknowledges_like_langfuse: bool = False) -> None:
        self.upstream = upstream
        self.acknowledges_like_langfuse = acknowledges_like_langfuse
        self.failures: list[Any] = []
        self.requests: list[tuple[str, str]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                proxy.respond(self)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                """Write no access log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self.server.server_port}"

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length") or 0)
        body = request.rfile.read(length)
        self.requests.append((request.command, request.path))
        failure = self.failures.pop(0) if self.failures else None
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
            self._send(request, 200, CAPTIVE_PORTAL_PAGE, {"content-type": "text/html"})
        elif isinstance(failure, tuple):
            self._send(request, int(failure[0]), b"slow down", {"retry-after": str(failure[1])})
        elif isinstance(failure, int):
            self._send(request, failure, b'{"message": "no"}', {})
        else:
            headers = {"content-type": response.headers["content-type"]}
            content = response.content
            if (
                self.acknowledges_like_langfuse
                and request.path == "/api/public/otel/v1/traces"
                and response.is_success
            ):
                content = json.dumps(LANGFUSE_ANSWERS["export"]["response"]).encode()
            self._send(request, response.status_code, content, headers)

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
def run_failing_proxy(
    upstream: str, *, acknowledges_like_langfuse: bool = False
) -> Iterator[FailingProxy]:
    """Run the proxy until the block ends."""
    proxy = FailingProxy(upstream, acknowledges_like_langfuse=acknowledges_like_langfuse)
    thread = threading.Thread(target=proxy.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
        thread.join(10)
