"""Test that disconnects stop the model, and that requests with incomplete bodies are refused."""

from __future__ import annotations

import json
import os
import signal
import socket
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.live.gateway.stack import Stack, read_server_metrics, throttle_process
from twin_resources.observability.langfuse.client import LangfuseClient

pytestmark = pytest.mark.live
# The test model never ends its text, so every answer has the maximum length.
TOKENS = 1500
LONG_REQUEST: dict[str, Any] = {
    "messages": [{"role": "user", "content": "How much oil does a clock need?"}],
    "model": "twin/ann@base",
    "max_tokens": TOKENS,
    "stop": ["never in a thousand years"],
}
LONG_REQUESTS: dict[str, dict[str, Any]] = {
    "chat/completions": LONG_REQUEST,
    "responses": {
        "model": LONG_REQUEST["model"],
        "input": "How much oil?",
        "max_output_tokens": TOKENS,
    },
}


def count_running_requests(stack: Stack) -> int:
    """Return the number of requests that the base model's server is processing."""
    return read_server_metrics(stack.models["base"])["processing"]


def count_steps(stack: Stack) -> int:
    """Return the number of steps of the base model; one request needs a step for each token."""
    return read_server_metrics(stack.models["base"])["decoded"]


@pytest.mark.parametrize("path", LONG_REQUESTS)
def test_a_disconnect_stops_a_complete_answer(stack: Stack, path: str) -> None:
    stack.wait(lambda: count_running_requests(stack) == 0)
    content = json.dumps(LONG_REQUESTS[path]).encode()
    steps_before, started_at = count_steps(stack), datetime.now(UTC)
    host, port = "127.0.0.1", stack.settings.gateway_port
    head = (
        f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    with (
        throttle_process(stack.models["base"].pid, stopped_s=0.1, running_s=0.02),
        socket.create_connection((host, port)) as reader,
    ):
        reader.sendall(head.encode() + content)
        stack.wait(lambda: count_steps(stack) > steps_before)
        reader.close()
        stack.wait(lambda: count_running_requests(stack) == 0, seconds=20)
    assert count_steps(stack) - steps_before < TOKENS - 100, "the model wrote the complete answer"
    with LangfuseClient.from_settings(stack.settings) as client:
        stack.wait(lambda: list(client.observations(since=started_at)))
        [span] = client.observations(since=started_at)
    assert (span["level"], span["statusMessage"]) == ("ERROR", "ReaderLeft")
    # The request no longer counts as busy time, which would raise the cost of later answers.
    assert stack.post(LONG_REQUEST | {"max_tokens": 2}).status_code == 200


@pytest.mark.parametrize("path", LONG_REQUESTS)
def test_a_disconnect_stops_a_stream(stack: Stack, path: str) -> None:
    """Four readers disconnect after the first chunks of a long answer."""
    body = LONG_REQUESTS[path] | {"stream": True}
    server = stack.models["base"]
    steps_written: list[int] = []
    with throttle_process(server.pid, stopped_s=0.1, running_s=0.02):
        for _ in range(4):
            stack.wait(lambda: count_running_requests(stack) == 0)
            steps_before = count_steps(stack)
            with stack.stream(body, path=path) as answer:
                chunks = (line for line in answer.iter_lines() if "delta" in line)
                assert len([chunk for chunk, _ in zip(chunks, range(5), strict=False)]) == 5
            stack.wait(lambda: count_running_requests(stack) == 0)
            steps_written.append(count_steps(stack) - steps_before)
    assert max(steps_written) < TOKENS - 100, f"tokens written of {TOKENS}: {steps_written}"


def test_a_disconnect_at_the_quotation_is_traced(stack: Stack) -> None:
    """Eight readers, more than the server processes at once, disconnect while it is stopped."""
    stack.wait(lambda: count_running_requests(stack) == 0)
    server, steps_before, reader_count = stack.models["base"], count_steps(stack), 8
    body = LONG_REQUEST | {"model": "twin/ann@voice", "stream": True}
    traces: list[str] = []
    os.killpg(server.pid, signal.SIGSTOP)
    try:
        for _ in range(reader_count):
            with stack.stream(body) as answer:
                line = next(line for line in answer.iter_lines() if line.startswith("data: "))
                traces.append(answer.headers["x-twin-trace-id"])
            event = json.loads(line.removeprefix("data: "))
            assert event["choices"][0]["delta"]["content"].startswith("> ")
            assert event["twin"]["quotes"][0]["title"] == "On oil"
    finally:
        os.killpg(server.pid, signal.SIGCONT)
    # The next reader is answered, and no work remains for the others.
    assert stack.post(LONG_REQUEST | {"max_tokens": 2}).status_code == 200
    stack.wait(lambda: count_running_requests(stack) == 0, seconds=20)
    assert count_steps(stack) - steps_before < TOKENS, (
        f"for {reader_count} answers of {TOKENS} tokens"
    )
    for trace in traces:
        [span] = stack.trace(trace)["observations"]
        assert "> " in json.dumps(span["output"])
        assert span["metadata"]["twin.degraded"] == "the reader disconnected before the prose"


def test_a_disconnect_stops_a_fast_stream(stack: Stack) -> None:
    """The chunks of a fast stream are buffered, so the gateway never waits for the next one."""
    server = stack.models["base"]
    steps_written: list[int] = []
    for _ in range(4):
        stack.wait(lambda: count_running_requests(stack) == 0)
        steps_before = count_steps(stack)
        with stack.stream(LONG_REQUEST | {"stream": True}) as answer:
            next(line for line in answer.iter_lines() if '"content":"' in line)
        stack.wait(lambda: count_running_requests(stack) == 0, seconds=20)
        steps_written.append(count_steps(stack) - steps_before)
    assert min(steps_written) < TOKENS - 100, f"tokens written of {TOKENS}: {steps_written}"
    assert server.running_server() is not None


def test_a_reader_who_stays_gets_the_complete_answer(stack: Stack) -> None:
    """The tests above assume that the answer is this long and counted in steps."""
    stack.wait(lambda: count_running_requests(stack) == 0)
    steps_before = count_steps(stack)
    answer = stack.post(LONG_REQUEST).json()
    assert answer["usage"]["completion_tokens"] == TOKENS
    assert count_steps(stack) - steps_before >= TOKENS


def test_incomplete_bodies_are_refused_after_ten_seconds(stack: Stack) -> None:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    address = ("127.0.0.1", stack.settings.gateway_port)
    max_requests = stack.settings.requests_per_key
    connections = [socket.create_connection(address, timeout=60) for _ in range(max_requests + 8)]
    try:
        for connection in connections:
            connection.sendall(head.encode())
        statuses: list[bytes] = []
        for connection in connections:
            answer = b""
            while chunk := connection.recv(4096):  # until the gateway closes the connection
                answer += chunk
            statuses.append(answer.split(b" ", 2)[1])
        assert sorted(statuses) == [b"408"] * max_requests + [b"429"] * 8
    finally:
        for connection in connections:
            connection.close()
    assert httpx.get(f"{stack.url}/health/readiness", trust_env=False).status_code == 200
