"""Test reading token ids, and distributing prompts over several servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.http_server import Request, Response, http_server
from twin_resources.errors import TwinError
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.models.serving.served_model import (
    Prompt,
    PromptQueue,
    _token_id,
    process_queue,
    query_temporary_servers,
)


@pytest.mark.parametrize(
    "entry", [{"id": 338, "token": " is"}, {"token": "token_id:338"}], ids=["llama.cpp", "vLLM"]
)
def test_both_formats_of_a_token_id_are_read(entry: dict[str, object]) -> None:
    assert _token_id(entry) == 338


def test_a_token_without_an_id_is_an_error() -> None:
    with pytest.raises(ValueError, match="is"):
        _token_id({"token": " is"})


@dataclass
class FakeServer:
    """A test server that records the question, token limit, first message and slot of each request.

    It answers with `reply`, or with the question if `reply` is empty. Without a delay, questions
    that end in 0 or 1 are answered more slowly. A question with "broken" gets HTTP 500.
    """

    delay_s: float
    reply: str = ""
    requests: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    system_messages: list[str] = field(default_factory=list[str])
    slots: list[int | None] = field(default_factory=list[int | None])

    def answer(self, request: Request) -> Response:
        body = request.document
        question = body["messages"][-1]["content"]
        self.requests.append((question, body["max_tokens"]))
        self.system_messages.append(body["messages"][0]["content"])
        self.slots.append(body.get("id_slot"))
        time.sleep(self.delay_s or (0.02 if question.endswith(("0", "1")) else 0.0))
        reply = self.reply or question
        token = {"id": 1, "token": reply, "top_logprobs": [{"id": 1, "logprob": -0.5}]}
        choice = {"message": {"content": reply}, "logprobs": {"content": [token]}}
        return Response({"choices": [choice]}, 500 if "broken" in question else 200)


class FakeModel:
    """A model that starts test servers and keeps them for inspection."""

    def __init__(self, delay_s: float = 0.0, reply: str = "") -> None:
        self.delay_s, self.reply = delay_s, reply
        self.servers: list[FakeServer] = []

    @contextmanager
    def serve(self) -> Iterator[RunningServer]:
        server = FakeServer(self.delay_s, self.reply)
        self.servers.append(server)
        with http_server(server.answer) as url:
            yield RunningServer(f"{url}/v1", "m", "", 1, "echo")


def make_prompts(count: int, text: str = "question") -> list[Prompt]:
    return [[{"role": "user", "content": f"{text} {number}"}] for number in range(count)]


@pytest.mark.parametrize("server_count", [1, 2, 3, 9])
def test_answers_of_several_servers_are_in_prompt_order(server_count: int) -> None:
    model = FakeModel()

    answers = query_temporary_servers(
        model.serve, make_prompts(5), max_servers=server_count, max_tokens=4
    )

    assert [answer.text for answer in answers] == [f"question {number}" for number in range(5)]
    assert len(model.servers) == min(server_count, 5)


def test_all_turns_of_a_prompt_go_to_the_same_server() -> None:
    model = FakeModel()
    queue = PromptQueue(make_prompts(12), max_tokens=[40, 16])

    process_queue(queue, model.serve, max_servers=2)

    texts = [f"question {number}" for number in range(12)]
    assert [[answer.text for answer in queue.answers_in_order(turn)] for turn in (0, 1)] == [
        texts
    ] * 2
    assert sum(len(server.requests) for server in model.servers) == 24
    for server in model.servers:
        for text, max_tokens in server.requests:
            if max_tokens == 16:  # this server must already have received the first turn
                earlier = server.requests[: server.requests.index((text, 16))]
                assert (text, 40) in earlier


def test_a_failing_server_ends_the_queue() -> None:
    model = FakeModel(delay_s=0.01)
    queue = PromptQueue(
        [*make_prompts(1), *make_prompts(1, "broken"), *make_prompts(40)], max_tokens=[4]
    )

    with pytest.raises(TwinError, match="500"):
        process_queue(queue, model.serve, max_servers=1)

    assert queue.remaining_count == 0
    assert len(model.servers[0].requests) < 10
