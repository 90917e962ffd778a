"""Test requests to slow, idle, killed and unreachable servers on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from twin_resources.errors import TwinError
from twin_resources.models.serving import timeouts
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.models.serving.served_model import PromptQueue, ServedAnswer
from twin_resources.models.serving.timeouts import (
    ANSWER_TIMEOUT_S,
    BUSY_TIMEOUT_FACTOR,
    StallPolicy,
)

PROMPT = [[{"role": "user", "content": "Why?"}]]
# A server in another process that prints "asked" for a request and never answers.
SILENT_SERVER = """
import socket, time
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
connection, _ = listening.accept()
connection.recv(65536)
print("asked", flush=True)
time.sleep(600)
"""


def ask(server: RunningServer, *, timeout_s: float = ANSWER_TIMEOUT_S) -> list[ServedAnswer]:
    queue = PromptQueue(PROMPT, max_tokens=[4])
    queue.query_server(server, timeout_s=timeout_s)
    return queue.answers_in_order()


def compute(seconds: float) -> None:
    """Compute for `seconds`, and until a quarter of them is CPU time."""
    end_s, cpu_end_s = time.monotonic() + seconds, time.process_time() + seconds / 4
    while time.monotonic() < end_s or time.process_time() < cpu_end_s:
        sum(range(1000))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer({"data": [{"id": "m"}]})

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, FlakyServer)
        self.rfile.read(int(self.headers["Content-Length"]))
        server.request_count += 1
        if not server.should_answer(server.request_count):
            self.close_connection = True
            return
        token = {"id": 1, "token": "yes", "top_logprobs": [{"id": 1, "logprob": -0.5}]}
        choice = {"message": {"content": "yes"}, "logprobs": {"content": [token]}}
        self.answer({"choices": [choice]})

    def answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # the client has closed the connection
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Write nothing to the test's output."""


class FlakyServer(ThreadingHTTPServer):
    """Answers "yes", or closes the connection if `should_answer(request number)` is false."""

    def __init__(self, should_answer: Callable[[int], bool]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.should_answer = should_answer
        self.request_count = 0

    def running_server(self, *, is_ours: bool) -> RunningServer:
        pid = os.getpid() if is_ours else None
        return RunningServer(f"http://127.0.0.1:{self.server_port}/v1", "m", "", pid, "echo")


@contextmanager
def run_server(should_answer: Callable[[int], bool]) -> Iterator[FlakyServer]:
    server = FlakyServer(should_answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent_server() -> Iterator[tuple[subprocess.Popen[str], RunningServer]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SILENT_SERVER], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    try:
        url = f"http://127.0.0.1:{port}/v1"
        yield process, RunningServer(url, "m", "", process.pid, "silent")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_computing_server_gets_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # the time limit of this test is short too
    monkeypatch.setattr(timeouts, "MIN_COMPUTING_CPU_S", 0.02)

    def slow_twice(number: int) -> bool:
        if number != 2:
            compute(1.5)
        return True

    with run_server(slow_twice) as server, httpx.Client(trust_env=False) as client:
        policy = StallPolicy(server.running_server(is_ours=True), timeout_s=0.75)
        first = policy.post(client, {})
        assert policy.limit_s == BUSY_TIMEOUT_FACTOR * 0.75
        second = policy.post(client, {})
    assert (first.status_code, second.status_code) == (200, 200)
    assert server.request_count == 3
    assert second.elapsed.total_seconds() > 0.75


def test_a_server_that_stays_slow_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "BUSY_TIMEOUT_FACTOR", 2)
    # the time limit of this test is short too
    monkeypatch.setattr(timeouts, "MIN_COMPUTING_CPU_S", 0.02)

    def always_slow(_number: int) -> bool:
        compute(3.0)
        return True

    with run_server(always_slow) as server, pytest.raises(TwinError, match="ReadTimeout"):
        ask(server.running_server(is_ours=True), timeout_s=0.5)
    assert server.request_count == 2


def test_an_idle_server_is_not_asked_again(
    silent_server: tuple[subprocess.Popen[str], RunningServer],
) -> None:
    process, server = silent_server
    with pytest.raises(TwinError, match=rf"its process {process.pid} used 0\.0\d s of CPU time"):
        ask(server, timeout_s=0.5)


@pytest.mark.parametrize("kill_time", ["before", "while it answers"])
def test_a_killed_server_is_an_error(
    silent_server: tuple[subprocess.Popen[str], RunningServer], kill_time: str
) -> None:
    process, server = silent_server

    def kill() -> None:
        if kill_time != "before":
            assert process.stdout is not None
            assert process.stdout.readline() == "asked\n"
        os.kill(process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    if kill_time == "before":
        killer.join()
        process.wait()
    start = time.monotonic()
    with pytest.raises(TwinError, match=rf"its process {process.pid} has ended"):
        ask(server)
    killer.join()
    assert time.monotonic() - start < 60  # well below the time limit of 120 s


@pytest.mark.parametrize("is_ours", [True, False])
def test_a_broken_connection_is_retried_once(is_ours: bool) -> None:
    with run_server(lambda number: number > 1) as server:
        [answer] = ask(server.running_server(is_ours=is_ours))
    assert (answer.text, server.request_count) == ("yes", 2)
    with (
        run_server(lambda _number: False) as server,
        pytest.raises(TwinError, match="without sending a response"),
    ):
        ask(server.running_server(is_ours=is_ours))
    assert server.request_count == 2


def test_a_slow_external_server_is_retried_once() -> None:
    def slow_once(number: int) -> bool:
        time.sleep(1.5 if number == 1 else 0.0)
        return True

    with run_server(slow_once) as server:
        start = time.monotonic()
        [answer] = ask(server.running_server(is_ours=False), timeout_s=0.5)
        total_s = time.monotonic() - start
    assert (answer.text, server.request_count) == ("yes", 2)
    assert answer.seconds < total_s - 0.5  # only the answered attempt counts


def test_an_unreachable_external_server_is_an_error() -> None:
    with run_server(lambda _number: True) as server:
        running = server.running_server(is_ours=False)
    with pytest.raises(TwinError, match=r"list the models of http://127\.0\.0\.1"):
        ask(running)
