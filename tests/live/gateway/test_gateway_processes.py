"""Test several gateway processes behind one port: start, counts and stored answers."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.live.gateway.stack import Stack, embed_passages, new_stack
from twin_resources.access.keys import add_key, open_key_store

pytestmark = pytest.mark.live
CONNECTIONS = 24  # the chance that one of four processes gets none of them is 1 in 250
MAX_CONCURRENT = 3  # concurrent requests of one key
QUESTION = [{"role": "user", "content": "Why?"}]
BODY = {"model": "twin/ann@base", "messages": QUESTION}
RELEASED = {"model": "twin/ann@stable", "messages": QUESTION}


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, gateway_weights: Path, tiny_gguf: Path
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("several")
    limits = {"TWIN_REQUESTS_PER_KEY": str(MAX_CONCURRENT)}
    with new_stack(folder, gateway_weights, tiny_gguf, environ=limits) as stack:
        embed_passages(stack.settings, "ann")
        stack.start_traces()
        for name in ("base", "ann/v1"):
            stack.start_model(name)
        yield stack


@pytest.mark.parametrize(
    ("processes", "rounds"),
    [(2, 1), pytest.param(4, 5, marks=pytest.mark.long)],
)
def test_concurrent_processes_share_counts_and_follow_a_release(
    stack: Stack, processes: int, rounds: int
) -> None:
    store = open_key_store(stack.settings)
    monitor_key = add_key(store, role="monitor", authors=["*"], label=f"prometheus {processes}")
    for _ in range(rounds):
        stack.release_nothing()
        stack.start_gateway(processes=processes)
        assert stack.gateway is not None
        try:
            children = psutil.Process(stack.gateway.pid).children()
            workers = [child for child in children if child.memory_info().rss > 100e6]
            assert len(workers) == processes
            answer_count = _ask_repeatedly(stack, BODY).count(200)
            assert answer_count == CONNECTIONS
            assert _read_answer_count(stack, monitor_key) == CONNECTIONS, (
                "a process does not report the counts of all processes"
            )
            stack.release("ann", 1)
            stack.wait(lambda: _ask_repeatedly(stack, RELEASED) == [200] * CONNECTIONS)
            assert _ignored_fields(stack) == [[]] * CONNECTIONS
            connections = _open_incomplete_requests(stack, MAX_CONCURRENT)
            assert _ask_repeatedly(stack, BODY) == [429] * CONNECTIONS, (
                "the limit must count requests of all processes"
            )
            for connection in connections:
                connection.close()
            stack.wait(lambda: _ask_repeatedly(stack, RELEASED) == [200] * CONNECTIONS)
        finally:
            stack.gateway.terminate()
            stack.gateway.wait(30)
            stack.gateway = None
        path = stack.settings.home / "gateway" / "throughput.json"
        measured = json.loads(path.read_text(encoding="utf-8"))["servers"]
        assert measured["base"]["requests"] == answer_count, (
            "the file must count all processes since the last start"
        )


def _read_answer_count(stack: Stack, monitor_key: str) -> float:
    """Return the answer count in `/metrics`; each connection may reach a different process."""
    headers = {"Authorization": f"Bearer {monitor_key}"}
    answers = [
        httpx.get(f"{stack.url}/metrics", headers=headers, timeout=60, trust_env=False)
        for _ in range(6)
    ]
    assert [answer.status_code for answer in answers] == [200] * 6, answers[0].text
    line = r'twin_http_requests_total\{route="/v1/chat/completions",status="200"\} ([0-9.]+)'
    [count] = {float(re.findall(line, text)[0]) for text in (answer.text for answer in answers)}
    return count


def _ask_repeatedly(stack: Stack, body: dict[str, Any]) -> list[int]:
    """Return the status of the question on each of 24 connections."""
    return [stack.post(body).status_code for _ in range(CONNECTIONS)]


def _ignored_fields(stack: Stack) -> list[list[str]]:
    """Return the ignored fields of questions that refer to one answer, on 24 connections."""

    def ask(text: str, **fields: str) -> dict[str, Any]:
        body = {"model": RELEASED["model"], "input": text, **fields}
        answer = stack.post(body, path="responses")
        assert answer.status_code == 200, answer.text
        return answer.json()

    first = ask("Which oil?")["id"]
    responses = [ask("How much?", previous_response_id=first) for _ in range(CONNECTIONS)]
    return [response["twin"].get("ignored", []) for response in responses]


def _open_incomplete_requests(stack: Stack, count: int) -> list[socket.socket]:
    """Open connections with incomplete bodies until the key has reached its limit.

    A connection is refused and does not count if it arrives while another request of the key ends.
    Connections are therefore added until the key is refused three times in a row.
    """
    port = stack.settings.gateway_port
    request_head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {stack.key}\r\nContent-Type: application/json\r\n"
        "Content-Length: 100\r\n\r\n{"
    )
    connections: list[socket.socket] = []

    def is_full() -> bool:
        if all(stack.post(RELEASED).status_code == 429 for _ in range(3)):
            return True
        connections.append(socket.create_connection(("127.0.0.1", port)))
        connections[-1].sendall(request_head.encode())
        return False

    stack.wait(is_full)
    assert len(connections) >= count
    return connections
