"""Token ids as the two servers write them; prompts dealt to several servers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from twin_assets.evaluation.served.served_model import _token_id, ask_several
from twin_resources.serving.model_server import RunningServer


@pytest.mark.parametrize(
    "entry", [{"id": 338, "token": " is"}, {"token": "token_id:338"}], ids=["llama.cpp", "vLLM"]
)
def test_both_ways_to_report_a_token_give_its_id(entry: dict[str, object]) -> None:
    assert _token_id(entry) == 338


def test_a_token_without_an_id_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(ValueError, match="is"):
        _token_id({"token": " is"})


class _Echo(BaseHTTPRequestHandler):
    """Answers each question with itself, the later asked the sooner."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["messages"][-1]["content"]
        time.sleep(0.02 if asked.endswith(("0", "1")) else 0.0)
        token = {"id": 1, "token": asked, "top_logprobs": [{"id": 1, "logprob": -0.5}]}
        choice = {"message": {"content": asked}, "logprobs": {"content": [token]}}
        answer = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing on the test's output."""


@pytest.mark.parametrize("servers", [1, 2, 3, 9])
def test_prompts_dealt_to_several_servers_come_back_in_order(servers: int) -> None:
    started: list[int] = []

    @contextmanager
    def serve() -> Iterator[RunningServer]:
        http = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        started.append(http.server_port)
        try:
            yield RunningServer(f"http://127.0.0.1:{http.server_port}/v1", "m", "", 1, "echo")
        finally:
            http.shutdown()
            http.server_close()

    prompts = [[{"role": "user", "content": f"question {number}"}] for number in range(5)]
    counted: list[int] = []
    found = ask_several(serve, prompts, servers=servers, max_tokens=4, advance=counted.append)
    assert [answer.text for answer in found] == [f"question {number}" for number in range(5)]
    assert len(set(started)) == min(servers, len(prompts))
    assert sum(counted) == len(prompts)
