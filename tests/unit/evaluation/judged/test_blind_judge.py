"""The blind judge against an OpenAI-compatible server in this process (a paid API's stand-in)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest

from twin_assets.evaluation.judged.blind_judge import (
    BlindJudge,
    Rating,
    compare,
    lines,
    read_rating,
)
from twin_resources.errors import TwinError
from twin_resources.judging.judge import Answered

SAMPLES = ("The lock had been broken since the summer.", "It did not fit, and so I cursed it.")
QUESTIONS = 12


class Model(ThreadingHTTPServer):
    """Rates style by how often an answer says "alas"; accuracy is 3 always."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Reply)
        self.prompts: list[str] = []
        self.sees_style = True
        self.unreadable = ""


class _Reply(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Model)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        server.prompts.append(prompt)
        answer = prompt.split("<answer>\n")[1].split("\n</answer>")[0]
        style = min(5, 1 + answer.count("alas")) if server.sees_style else 3
        content = json.dumps({"accuracy": 3, "style": style})
        if server.unreadable and server.unreadable in answer:
            content = "I would rather not say."
        reply = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "judge",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content},
                    "finish_reason": "stop",
                }
            ],
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


def answers(manner: str) -> list[Answered]:
    return [
        Answered(f"Why {number}?", f"{manner} answer {number}.", (f"passage {number}",))
        for number in range(QUESTIONS)
    ]


WRITERS = {
    "candidate": answers("alas alas"),
    "base": answers("certainly"),
    "author": answers("alas alas alas alas"),
}


def test_differences_and_ceiling_come_out_with_intervals(model: Model) -> None:
    found = compare(BlindJudge("openai/judge", samples=SAMPLES), WRITERS)

    means = {one.writer: (one.accuracy.value, one.style.value) for one in found.writers}
    assert means == {"candidate": (0.5, 0.5), "base": (0.5, 0.0), "author": (0.5, 1.0)}
    assert (found.style.value, found.accuracy.value) == (0.5, 0.0)
    assert found.style.low > 0.0
    assert found.tells_styles_apart is True
    assert found.unreadable == 0
    assert any("candidate − base: accuracy +0.00" in line for line in lines(found))


def test_the_judge_is_told_samples_and_nothing_of_who_wrote(model: Model) -> None:
    compare(BlindJudge("openai/judge", samples=SAMPLES), WRITERS)

    assert len(model.prompts) == 3 * QUESTIONS
    assert all(sample in prompt for prompt in model.prompts for sample in SAMPLES)
    assert not [one for one in model.prompts if "candidate" in one or "author" in one]
    order = [next(n for n in ("alas alas alas", "alas", "certainly") if n in one)
             for one in model.prompts]  # fmt: skip
    runs = 1 + sum(one != two for one, two in pairwise(order))
    assert runs > 10  # one pile: three runs would be writer after writer


def test_the_order_of_asking_does_not_follow_from_the_writer(model: Model) -> None:
    judge = BlindJudge("openai/judge", samples=SAMPLES)
    swapped = {"candidate": WRITERS["base"], "base": WRITERS["candidate"]}

    there = compare(judge, {name: WRITERS[name] for name in ("candidate", "base")})
    back = compare(judge, swapped)

    assert there.style.value == -back.style.value
    assert there.tells_styles_apart is None


def test_a_judge_blind_to_style_says_so(model: Model) -> None:
    model.sees_style = False

    found = compare(BlindJudge("openai/judge", samples=SAMPLES), WRITERS)

    assert found.tells_styles_apart is False
    assert any("its ratings of style say nothing" in line for line in lines(found))


def test_one_unreadable_rating_costs_one_question_and_many_refuse(model: Model) -> None:
    judge = BlindJudge("openai/judge", samples=SAMPLES)
    model.unreadable = "certainly answer 3."

    found = compare(judge, WRITERS)
    assert found.unreadable == 1
    assert {one.answers for one in found.writers} == {QUESTIONS - 1}

    model.unreadable = "certainly"
    with pytest.raises(TwinError, match="12 of 36 without a rating"):
        compare(judge, WRITERS)


def test_equal_answers_are_asked_about_once_and_empty_ones_never(model: Model) -> None:
    judge = BlindJudge("openai/judge", samples=SAMPLES)
    one = Answered("Why?", "alas")

    assert judge.rate([one, one, Answered("Why?", "  ")]) == [
        Rating(0.5, 0.25),
        Rating(0.5, 0.25),
        Rating(0.0, 0.0),
    ]
    assert len(model.prompts) == 1


def test_writers_of_different_questions_and_a_judge_without_samples_are_refused() -> None:
    judge = BlindJudge("openai/judge", samples=SAMPLES)
    with pytest.raises(TwinError, match="same questions"):
        compare(judge, WRITERS | {"base": answers("certainly")[1:]})
    with pytest.raises(TwinError, match="no sample"):
        BlindJudge("openai/judge", samples=())


@pytest.mark.parametrize(
    ("said", "rating"),
    [
        ('{"accuracy": 5, "style": 1}', Rating(1.0, 0.0)),
        ('```json\n{"style": 3, "accuracy": 2}\n```', Rating(0.25, 0.5)),
        ('{"accuracy": 5}', None),
        ('{"accuracy": 5, "style": 6}', None),
        ('{"accuracy": true, "style": 1}', None),
        ('{"accuracy": "5", "style": 1}', None),
        ('{"accuracy": 5, "style": 1} {"accuracy": 1, "style": 1}', None),
        ("{accuracy: 5}", None),
        ("5 and 1", None),
    ],
)
def test_only_two_whole_numbers_count_as_a_rating(said: str, rating: Rating | None) -> None:
    assert read_rating(said) == rating
