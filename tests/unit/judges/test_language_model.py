"""Test the scores of the language-model judge, and when it counts as a different judge."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.judges.rating_server import RatingServer, run_rating_server
from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer, judge_id
from twin_resources.quality.judges.language_model import (
    LanguageModelJudge,
    _order_key,  # pyright: ignore[reportPrivateUsage]
    parse_rating,
)


class Replies:
    """Returns an answer's digit as its rating, or prose for the next `invalid_count` answers."""

    def __init__(self) -> None:
        self.invalid_count = 0

    def __call__(self, answer: str) -> str:
        if self.invalid_count:
            self.invalid_count -= 1
            return "It is a fine answer."
        return f'{{"rating": {next(char for char in answer if char.isdigit())}}}'


@pytest.fixture
def replies() -> Replies:
    return Replies()


@pytest.fixture
def server(replies: Replies, monkeypatch: pytest.MonkeyPatch) -> Iterator[RatingServer]:
    with run_rating_server(replies, monkeypatch) as rating_server:
        yield rating_server


def test_a_rating_becomes_a_score_and_equal_answers_are_rated_once(server: RatingServer) -> None:
    judge = LanguageModelJudge("openai/judge")
    answers = [JudgedAnswer("Why?", f"rate {n}", ("a passage",)) for n in (5, 1, 3, 5)]

    assert judge.score_all([*answers, JudgedAnswer("Why?", "  ")]) == [1.0, 0.0, 0.5, 1.0, 0.0]
    assert judge.usage.calls == len(server.prompts) == 3
    assert all("a passage" in prompt for prompt in server.prompts)


def test_scores_do_not_depend_on_the_order_of_answers(server: RatingServer) -> None:
    judge = LanguageModelJudge("openai/judge")
    answers = [JudgedAnswer("Why?", f"{n % 5 + 1} is answer {n}") for n in range(12)]

    assert judge.score_all(answers[::-1]) == judge.score_all(answers)[::-1]


def test_a_reply_without_a_rating_is_requested_again_at_most_twice(
    server: RatingServer, replies: Replies
) -> None:
    judge = LanguageModelJudge("openai/judge")
    replies.invalid_count = 2

    assert judge.score_all([JudgedAnswer("Why?", "rate 4")]) == [0.75]
    assert judge.usage.calls == 3

    replies.invalid_count = 3
    with pytest.raises(TwinError, match="no rating in 3 attempts"):
        judge.score_all([JudgedAnswer("Why?", "rate 4")])


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ('{"rating": 5, "b": 1}', 5),
        ('```json\n{"b": 3, "rating": 2}\n```', 2),
        ('{"b": 5}', None),
        ('{"rating": 0}', None),
        ('{"rating": 6}', None),
        ('{"rating": 4.5}', None),
        ('{"rating": true}', None),
        ('{"rating": "5"}', None),
        ('{"rating": 5} or {"rating": 1}', None),
        ("{rating: 5}", None),
        ("5", None),
    ],
)
def test_only_whole_numbers_from_1_to_5_are_ratings(reply: str, rating: int | None) -> None:
    assert parse_rating(reply) == rating


def test_answers_are_rated_in_an_order_unrelated_to_their_arrival() -> None:
    answers = [JudgedAnswer("Why?", f"rate {n % 5 + 1} for {n}") for n in range(20)]
    assert sorted(answers, key=_order_key) not in (answers, answers[::-1])


def test_a_model_that_cannot_be_reached_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_rating_server(lambda answer: answer, monkeypatch):
        pass  # the server has stopped, so nothing listens on its port
    with pytest.raises(TwinError, match="rate 1 answers"):
        LanguageModelJudge("openai/judge").score_all([JudgedAnswer("Why?", "rate 1")])


def test_the_reply_is_requested_with_a_schema(server: RatingServer) -> None:
    LanguageModelJudge("openai/judge").score_all([JudgedAnswer("Why?", "rate 4")])

    [reply_format] = server.response_formats
    assert reply_format["type"] == "json_schema"
    schema = reply_format["json_schema"]["schema"]
    assert schema["properties"] == {"rating": {"type": "integer", "enum": [1, 2, 3, 4, 5]}}
    assert schema["required"] == ["rating"]


def test_a_server_that_rejects_the_schema_is_asked_without_one(server: RatingServer) -> None:
    server.rejects_response_formats = True
    answers = [JudgedAnswer("Why?", "rate 5"), JudgedAnswer("Why?", "rate 3")]

    assert LanguageModelJudge("openai/judge").score_all(answers) == [1.0, 0.5]
    assert server.response_formats == [{}, {}]


def test_another_model_is_another_judge() -> None:
    first, second = LanguageModelJudge("openai/a"), LanguageModelJudge("openai/b")

    assert judge_id(first) != judge_id(second)
