"""Gateway processes behind one port: they start, count and remember answers together."""

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
OFTEN = 24  # connections: that one of four processes gets none of them is one chance in 250
MOST = 3  # requests of one key under way
QUESTION = [{"role": "user", "content": "Why?"}]
ASKED = {"model": "twin/ann@base", "messages": QUESTION}
RELEASED = {"model": "twin/ann@stable", "messages": QUESTION}


@pytest.fixture(scope="module")
def several(
    tmp_path_factory: pytest.TempPathFactory, gateway_weights: Path, tiny_gguf: Path
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("several")
    limits = {"TWIN_REQUESTS_PER_KEY": str(MOST)}
    with new_stack(folder, gateway_weights, tiny_gguf, environ=limits) as stack:
        embed_passages(stack.settings, "ann")
        stack.start_traces()
        for name in ("base", "ann/v1"):
            stack.start_model(name)
        yield stack


@pytest.mark.drawn(1, of="gateways that end or start")
@pytest.mark.parametrize(
    ("processes", "rounds"), [(2, 1), pytest.param(4, 100, marks=pytest.mark.long)]
)
def test_several_started_at_once_answer_count_together_and_see_a_release(
    several: Stack, processes: int, rounds: int
) -> None:
    store = open_key_store(several.settings)
    monitor = add_key(store, role="monitor", authors=["*"], label=f"prometheus {processes}")
    for _ in range(rounds):
        several.unrelease()
        several.start_gateway(processes=processes)
        assert several.gateway is not None
        try:
            children = psutil.Process(several.gateway.pid).children()
            answering = [child for child in children if child.memory_info().rss > 100e6]
            assert len(answering) == processes
            answered = _ask(several, ASKED).count(200)
            assert answered == OFTEN
            assert _counted(several, monitor) == OFTEN, "by all processes, whichever is asked"
            several.release("ann", 1)
            several.wait(lambda: _ask(several, RELEASED) == [200] * OFTEN)
            assert _ignored_of_second_messages(several) == [[]] * OFTEN
            held = _under_way(several, MOST)
            assert _ask(several, ASKED) == [429] * OFTEN, "as many are under way, wherever"
            for connection in held:
                connection.close()
            several.wait(lambda: _ask(several, RELEASED) == [200] * OFTEN)
        finally:
            several.gateway.terminate()
            several.gateway.wait(30)
            several.gateway = None
        path = several.settings.home / "gateway" / "throughput.json"
        measured = json.loads(path.read_text(encoding="utf-8"))["servers"]
        assert measured["base"]["requests"] == answered, "of all processes, and of no start before"


def _counted(stack: Stack, monitor: str) -> float:
    """The answers of the base that `/metrics` counts; each connection may reach another process."""
    headers = {"Authorization": f"Bearer {monitor}"}
    answers = [
        httpx.get(f"{stack.url}/metrics", headers=headers, timeout=60, trust_env=False)
        for _ in range(6)
    ]
    assert [answer.status_code for answer in answers] == [200] * 6, answers[0].text
    line = r'twin_http_requests_total\{route="/v1/chat/completions",status="200"\} ([0-9.]+)'
    [count] = {float(re.findall(line, text)[0]) for text in (answer.text for answer in answers)}
    return count


def _ask(stack: Stack, body: dict[str, Any]) -> list[int]:
    """The statuses of a question on so many connections."""
    return [stack.post(body).status_code for _ in range(OFTEN)]


def _ignored_of_second_messages(stack: Stack) -> list[list[str]]:
    """What is ignored of questions that name one answer, on so many connections."""

    def asks(text: str, **fields: str) -> dict[str, Any]:
        answer = httpx.post(
            f"{stack.url}/v1/responses",
            json={"model": RELEASED["model"], "input": text, **fields},
            headers={"Authorization": f"Bearer {stack.key}"},
            timeout=60,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    first = asks("Which oil?")["id"]
    again = [asks("How much?", previous_response_id=first) for _ in range(OFTEN)]
    return [one["twin"].get("ignored", []) for one in again]


def _under_way(stack: Stack, many: int) -> list[socket.socket]:
    """Connections whose bodies have not ended, as many as one key may have, or a few more.

    A connection that comes while another request of the key ends is refused and counts for
    nothing: so there is one more until the key is refused three times in a row.
    """
    port = stack.settings.gateway_port
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {stack.key}\r\nContent-Type: application/json\r\n"
        "Content-Length: 100\r\n\r\n{"
    )
    connections: list[socket.socket] = []

    def is_full() -> bool:
        if all(stack.post(RELEASED).status_code == 429 for _ in range(3)):
            return True
        connections.append(socket.create_connection(("127.0.0.1", port)))
        connections[-1].sendall(head.encode())
        return False

    stack.wait(is_full)
    assert len(connections) >= many
    return connections
