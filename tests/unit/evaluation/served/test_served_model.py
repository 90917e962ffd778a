"""Token ids as the two servers write them; prompts that several servers share."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from twin_resources.errors import TwinError
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.models.serving.served_model import (
    Prompt,
    PromptQueue,
    _token_id,
    ask_several,
    serve_for,
)


@pytest.mark.parametrize(
    "entry", [{"id": 338, "token": " is"}, {"token": "token_id:338"}], ids=["llama.cpp", "vLLM"]
)
def test_both_ways_to_report_a_token_give_its_id(entry: dict[str, object]) -> None:
    assert _token_id(entry) == 338


def test_a_token_without_an_id_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(ValueError, match="is"):
        _token_id({"token": " is"})


class _Echo(BaseHTTPRequestHandler):
    """Answers each question with itself, or always the same; the later asked the sooner; "broken"
    with an error."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["messages"][-1]["content"]
        server.asked.append((asked, body["max_tokens"]))
        server.systems.append(body["messages"][0]["content"])
        server.slots.append(body.get("id_slot"))
        time.sleep(server.seconds or (0.02 if asked.endswith(("0", "1")) else 0.0))
        says = server.says or asked
        token = {"id": 1, "token": says, "top_logprobs": [{"id": 1, "logprob": -0.5}]}
        choice = {"message": {"content": says}, "logprobs": {"content": [token]}}
        answer = json.dumps({"choices": [choice]}).encode()
        self.send_response(500 if "broken" in asked else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing on the test's output."""


class Server(ThreadingHTTPServer):
    """What one server of a model was asked: question and most tokens, what stood before all, and
    in which slot, in order."""

    def __init__(self, seconds: float, says: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.asked: list[tuple[str, int]] = []
        self.systems: list[str] = []
        self.slots: list[int | None] = []
        self.seconds = seconds
        self.says = says


class Model:
    """Starts servers, and keeps what each of them was asked."""

    def __init__(self, seconds: float = 0.0, says: str = "") -> None:
        self.seconds, self.says = seconds, says
        self.started: list[Server] = []

    @contextmanager
    def serve(self) -> Iterator[RunningServer]:
        http = Server(self.seconds, self.says)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        self.started.append(http)
        try:
            yield RunningServer(f"http://127.0.0.1:{http.server_port}/v1", "m", "", 1, "echo")
        finally:
            http.shutdown()
            http.server_close()


def prompts(count: int, what: str = "question") -> list[Prompt]:
    return [[{"role": "user", "content": f"{what} {number}"}] for number in range(count)]


@pytest.mark.parametrize("servers", [1, 2, 3, 9])
def test_prompts_that_several_servers_share_come_back_in_order(servers: int) -> None:
    model = Model()
    counted: list[int] = []

    found = ask_several(
        model.serve, prompts(5), servers=servers, max_tokens=4, advance=counted.append
    )

    assert [answer.text for answer in found] == [f"question {number}" for number in range(5)]
    assert len(model.started) == min(servers, 5)
    assert sum(counted) == 5


def test_a_prompt_that_is_asked_twice_is_asked_by_one_server_in_succession() -> None:
    model = Model()
    pile = PromptQueue(prompts(12), tokens=[40, 16])

    serve_for(pile, model.serve, servers=2)

    texts = [f"question {number}" for number in range(12)]
    assert [[one.text for one in pile.asked(turn)] for turn in (0, 1)] == [texts, texts]
    assert sum(len(server.asked) for server in model.started) == 24
    for server in model.started:
        for text, tokens in server.asked:
            if tokens == 16:  # what came before it, from whichever request in flight
                before = server.asked[: server.asked.index((text, 16))]
                assert (text, 40) in before


def test_a_server_that_fails_ends_the_pile() -> None:
    model = Model(seconds=0.01)
    pile = PromptQueue([*prompts(1), *prompts(1, "broken"), *prompts(40)], tokens=[4])

    with pytest.raises(TwinError, match="500"):
        serve_for(pile, model.serve, servers=1)

    assert pile.left == 0
    assert len(model.started[0].asked) < 10
