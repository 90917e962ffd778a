"""Readers who leave, bodies that never end, and readers who come all at once."""

from __future__ import annotations

import json
import os
import signal
import socket
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.live.gateway.stack import Stack, dragged, tokens_of
from twin_resources.observability.langfuse.client import LangfuseClient

pytestmark = pytest.mark.live
# The made-up model writes nonsense without an end, so an answer is as long as it may be.
TOKENS = 1500
LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "How much oil does a clock need?"}],
    "model": "twin/ann@base",
    "max_tokens": TOKENS,
    "stop": ["never in a thousand years"],
}
OPEN: dict[str, Any] = {"trust_env": False, "timeout": 60}


def busy(stack: Stack) -> int:
    """Requests that the base model's server is working on."""
    return tokens_of(stack.models["base"])["processing"]


def decoded(stack: Stack) -> int:
    """Steps of the base model since it started; while it answers one request, its tokens."""
    return tokens_of(stack.models["base"])["decoded"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_a_reader_who_leaves_ends_the_work_for_a_whole_answer(stack: Stack, path: str) -> None:
    stack.wait(lambda: busy(stack) == 0)
    body = dict(LONG)
    if path == "/v1/responses":
        body = {"model": LONG["model"], "input": "How much oil?", "max_output_tokens": TOKENS}
    raw = json.dumps(body).encode()
    before, began = decoded(stack), datetime.now(UTC)
    host, port = "127.0.0.1", stack.settings.gateway_port
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {stack.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    with (
        dragged(stack.models["base"].pid, stopped_s=0.1, running_s=0.02),
        socket.create_connection((host, port)) as reader,
    ):
        reader.sendall(head.encode() + raw)
        stack.wait(lambda: decoded(stack) > before)
        reader.close()
        stack.wait(lambda: busy(stack) == 0, seconds=20)
    assert decoded(stack) - before < TOKENS - 100, "the answer was written to its end"
    with LangfuseClient.from_settings(stack.settings) as client:
        stack.wait(lambda: list(client.observations(since=began)))
        [span] = client.observations(since=began)
    assert (span["level"], span["statusMessage"]) == ("ERROR", "HTTPException")
    # the machine counts as busy no longer, or every later answer would cost more
    assert stack.post(LONG | {"max_tokens": 2}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_a_reader_who_leaves_ends_the_work_for_a_stream(stack: Stack, path: str) -> None:
    """Four who leave after the first pieces, of a model that would write on for seconds."""
    body = LONG | {"stream": True}
    if path == "/v1/responses":
        body = {"model": LONG["model"], "input": "How much oil?", "max_output_tokens": TOKENS}
        body |= {"stream": True}
    server = stack.models["base"]
    written: list[int] = []
    with dragged(server.pid, stopped_s=0.1, running_s=0.02), httpx.Client(**OPEN) as client:
        for _ in range(4):
            stack.wait(lambda: busy(stack) == 0)
            before = decoded(stack)
            url, key = f"{stack.url}{path}", {"Authorization": f"Bearer {stack.key}"}
            with client.stream("POST", url, json=body, headers=key) as answer:
                pieces = (line for line in answer.iter_lines() if "delta" in line)
                assert len([piece for piece, _ in zip(pieces, range(5), strict=False)]) == 5
            stack.wait(lambda: busy(stack) == 0)
            written.append(decoded(stack) - before)
    # how many depends on how often the machine lets the gateway run
    assert max(written) < TOKENS - 100, f"written, of {TOKENS}: {written}"


def test_the_quotation_comes_before_the_model_and_who_leaves_at_it_is_traced(stack: Stack) -> None:
    """Eight who leave while the server stands still: more than it takes at a time, and more than it
    listens to."""
    stack.wait(lambda: busy(stack) == 0)
    server, before, readers = stack.models["base"], decoded(stack), 8
    body = LONG | {"model": "twin/ann@voice", "stream": True}
    traces: list[str] = []
    os.killpg(server.pid, signal.SIGSTOP)
    try:
        for _ in range(readers):
            with (
                httpx.Client(**OPEN) as client,
                client.stream(
                    "POST",
                    f"{stack.url}/v1/chat/completions",
                    json=body,
                    headers={"Authorization": f"Bearer {stack.key}"},
                ) as answer,
            ):
                line = next(line for line in answer.iter_lines() if line.startswith("data: "))
                traces.append(answer.headers["x-twin-trace-id"])
            event = json.loads(line.removeprefix("data: "))
            assert event["choices"][0]["delta"]["content"].startswith("> ")
            assert event["twin"]["quotes"][0]["title"] == "On oil"
    finally:
        os.killpg(server.pid, signal.SIGCONT)
    # who asks next is answered, and nothing is left to do for those who have gone
    assert stack.post(LONG | {"max_tokens": 2}).status_code == 200
    stack.wait(lambda: busy(stack) == 0, seconds=20)
    assert decoded(stack) - before < TOKENS, f"of {readers} answers of {TOKENS}"
    for trace in traces:
        [span] = stack.trace(trace)["observations"]
        assert "> " in json.dumps(span["output"])
        assert span["metadata"]["twin.degraded"] == "the reader disconnected before the prose"


def test_a_stream_that_is_faster_than_the_gateway_ends_too(stack: Stack) -> None:
    """Its pieces wait in buffers, so that the gateway need never wait for one: the reader was
    heard of when all were through, 4 of 4 written to their end."""
    server = stack.models["base"]
    written: list[int] = []
    for _ in range(4):
        stack.wait(lambda: busy(stack) == 0)
        before = decoded(stack)
        with (
            httpx.Client(**OPEN) as client,
            client.stream(
                "POST",
                f"{stack.url}/v1/chat/completions",
                json=LONG | {"stream": True},
                headers={"Authorization": f"Bearer {stack.key}"},
            ) as answer,
        ):
            next(line for line in answer.iter_lines() if '"content":"' in line)
        stack.wait(lambda: busy(stack) == 0, seconds=20)
        written.append(decoded(stack) - before)
    assert min(written) < TOKENS - 100, f"written, of {TOKENS}: {written}"
    assert server.running_server() is not None


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
    # whoever is not answered within a minute was never refused
    readers = [socket.create_connection(address, timeout=60) for _ in range(most + 8)]
    try:
        for reader in readers:
            reader.sendall(head.encode())
        statuses: list[bytes] = []
        for reader in readers:
            answer = b""
            while piece := reader.recv(4096):  # until the gateway closes the connection
                answer += piece
            statuses.append(answer.split(b" ", 2)[1])
        assert sorted(statuses) == [b"408"] * most + [b"429"] * 8
    finally:
        for reader in readers:
            reader.close()
    assert httpx.get(f"{stack.url}/health/readiness", trust_env=False).status_code == 200
