"""The general judge against an OpenAI-compatible server in this process (a paid API's stand-in)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from twin_resources.errors import TwinError
from twin_resources.judging.judge import Answered, identity
from twin_resources.judging.language_model import LanguageModelJudge, read_rating


class Model(ThreadingHTTPServer):
    """Rates an answer by the digit in it; `stumbles` replies are prose first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Reply)
        self.prompts: list[str] = []
        self.stumbles = 0


class _Reply(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Model)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        server.prompts.append(prompt)
        said = prompt.split("<answer>\n")[1]
        rating = next(mark for mark in said if mark.isdigit())
        content = f'{{"rating": {rating}}}'
        if server.stumbles:
            server.stumbles -= 1
            content = "It is a fine answer."
        message = {"role": "assistant", "content": content}
        reply = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "judge",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    server = Model()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_rating_becomes_a_score_and_equal_answers_are_asked_about_once(model: Model) -> None:
    judge = LanguageModelJudge("openai/judge")
    answered = [Answered("Why?", f"rate {n}", ("a passage",)) for n in (5, 1, 3, 5)]

    assert judge.score_all([*answered, Answered("Why?", "  ")]) == [1.0, 0.0, 0.5, 1.0, 0.0]
    assert judge.spent.calls == len(model.prompts) == 3
    assert all("a passage" in prompt for prompt in model.prompts)


def test_the_order_of_asking_does_not_follow_the_order_given(model: Model) -> None:
    judge = LanguageModelJudge("openai/judge")
    answered = [Answered("Why?", f"{n % 5 + 1} is answer {n}") for n in range(12)]

    scores = judge.score_all(answered)
    forwards = list(model.prompts)
    model.prompts.clear()

    assert judge.score_all(answered[::-1]) == scores[::-1]
    assert sorted(forwards) == sorted(model.prompts)
    given = [one.answer for one in answered]
    asked = [prompt.split("<answer>\n")[1].split("\n")[0] for prompt in forwards]
    assert asked != given


def test_an_unreadable_rating_is_asked_for_again_and_then_refused(model: Model) -> None:
    judge = LanguageModelJudge("openai/judge")
    model.stumbles = 2

    assert judge.score("Why?", "rate 4") == 0.75
    assert judge.spent.unreadable == 2

    model.stumbles = 3
    with pytest.raises(TwinError, match="no rating in 3 tries"):
        judge.score("Why?", "rate 4")


@pytest.mark.parametrize(
    ("said", "rating"),
    [
        ('{"rating": 4}', 4),
        ('```json\n{"rating": 2}\n```', 2),
        ('{"rating": 4} or {"rating": 5}', None),
        ('{"rating": 4.5}', None),
        ('{"rating": "4"}', None),
        ('{"rating": true}', None),
        ('{"rating": 6}', None),
        ("4", None),
        ("{rating: 4}", None),
    ],
)
def test_only_one_whole_number_counts_as_a_rating(said: str, rating: int | None) -> None:
    assert read_rating(said) == rating


def test_another_model_is_another_judge() -> None:
    one, two = LanguageModelJudge("openai/a"), LanguageModelJudge("openai/b")

    assert identity(one) != identity(two)
