"""Readers who leave, bodies that never end, and readers who come all at once."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import httpx
import pytest

from tests.live.gateway.stack import Stack, tokens_of

pytestmark = [pytest.mark.live, pytest.mark.alone]
# The made-up model writes nonsense without an end, so an answer is as long as it may be.
TOKENS = 1500
LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "How much oil does a clock need?"}],
    "model": "twin/ann@base",
    "max_tokens": TOKENS,
    "stop": ["never in a thousand years"],
}


def busy(stack: Stack) -> int:
    """Requests that the base model's server is working on."""
    return tokens_of(stack.models["base"])["processing"]


def decoded(stack: Stack) -> int:
    """Steps of the base model since it started; while it answers one request, its tokens."""
    return tokens_of(stack.models["base"])["decoded"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_a_reader_who_leaves_ends_the_work_for_a_whole_answer(stack: Stack, path: str) -> None:
    """Of streams `tests/unit/gateway/test_routes.py` tells: the made-up model has written one to
    its end, 800 tokens a second, before anybody can be said to have left."""
    stack.wait(lambda: busy(stack) == 0)
    body = dict(LONG)
    if path == "/v1/responses":
        body = {"model": LONG["model"], "input": "How much oil?", "max_output_tokens": TOKENS}
    raw = json.dumps(body).encode()
    before = decoded(stack)
    host, port = "127.0.0.1", stack.settings.gateway_port
    with socket.create_connection((host, port)) as reader:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
        )
        reader.sendall(head.encode() + raw)
        stack.wait(lambda: busy(stack) == 1, seconds=20)
    stack.wait(lambda: busy(stack) == 0, seconds=20)
    assert decoded(stack) - before < TOKENS - 100, "the answer was written to its end"
    # the machine counts as busy no longer, or every later answer would cost more
    assert stack.post(LONG | {"max_tokens": 2}).status_code == 200


def test_who_stays_gets_the_whole_answer(stack: Stack) -> None:
    """What the test above rests on: so long an answer is written, and counted in steps."""
    stack.wait(lambda: busy(stack) == 0)
    before = decoded(stack)
    answer = stack.post(LONG).json()
    assert answer["usage"]["completion_tokens"] == TOKENS
    assert decoded(stack) - before >= TOKENS


def test_half_sent_bodies_are_refused_after_ten_seconds(stack: Stack) -> None:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    )
    address = ("127.0.0.1", stack.settings.gateway_port)
    most = stack.settings.requests_per_key
    readers = [socket.create_connection(address, timeout=20) for _ in range(most + 8)]
    try:
        for reader in readers:
            reader.sendall(head.encode())
        began = time.monotonic()
        statuses: list[bytes] = []
        for reader in readers:
            answer = b""
            while piece := reader.recv(4096):  # until the gateway closes the connection
                answer += piece
            statuses.append(answer.split(b" ", 2)[1])
        assert time.monotonic() - began < 15
        assert sorted(statuses) == [b"408"] * most + [b"429"] * 8
    finally:
        for reader in readers:
            reader.close()
    assert httpx.get(f"{stack.url}/health/readiness", trust_env=False).status_code == 200
