"""Four gateway processes behind one port: they start, count and remember answers together."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.live.gateway.stack import Stack, embed_passages, new_stack

pytestmark = pytest.mark.live
PROCESSES = 4
OFTEN = 24  # connections: that one of four processes gets none of them is one chance in 250
MOST = 3  # requests of one key under way
QUESTION = [{"role": "user", "content": "Why?"}]
ASKED = {"model": "twin/ann@base", "messages": QUESTION}
RELEASED = {"model": "twin/ann@stable", "messages": QUESTION}


@pytest.fixture(scope="module")
def four(
    tmp_path_factory: pytest.TempPathFactory, gateway_weights: Path, tiny_gguf: Path
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("four")
    limits = {"TWIN_REQUESTS_PER_KEY": str(MOST)}
    with new_stack(folder, gateway_weights, tiny_gguf, environ=limits) as stack:
        embed_passages(stack.settings, "ann")
        stack.start_traces()
        for name in ("base", "ann/v1"):
            stack.start_model(name)
        yield stack


@pytest.mark.parametrize("rounds", [1, pytest.param(100, marks=pytest.mark.long)])
def test_four_started_at_once_answer_count_together_and_see_a_release(
    four: Stack, rounds: int
) -> None:
    for _ in range(rounds):
        four.unrelease()
        four.start_gateway(processes=PROCESSES)
        assert four.gateway is not None
        try:
            children = psutil.Process(four.gateway.pid).children()
            answering = [child for child in children if child.memory_info().rss > 100e6]
            assert len(answering) == PROCESSES
            answered = _ask(four, ASKED).count(200)
            assert answered == OFTEN
            four.release("ann", 1)
            four.wait(lambda: _ask(four, RELEASED) == [200] * OFTEN)
            assert _ignored_of_second_messages(four) == [[]] * OFTEN
            held = _under_way(four, MOST)
            assert _ask(four, ASKED) == [429] * OFTEN, "as many are under way, wherever"
            for connection in held:
                connection.close()
            four.wait(lambda: _ask(four, RELEASED) == [200] * OFTEN)
        finally:
            four.gateway.terminate()
            four.gateway.wait(30)
            four.gateway = None
        path = four.settings.home / "gateway" / "throughput.json"
        measured = json.loads(path.read_text(encoding="utf-8"))["servers"]
        assert measured["base"]["requests"] == answered, "of all processes, and of no start before"


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
