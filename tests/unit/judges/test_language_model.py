"""The general judge: what a rating is worth, and what it is another stream of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.judges.rating_server import RatingServer, serving
from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer, identity
from twin_resources.quality.judges.language_model import RUBRIC, LanguageModelJudge


class Replies:
    """Rates an answer by the digit in it; the first `stumbles` replies are prose."""

    def __init__(self) -> None:
        self.stumbles = 0

    def __call__(self, answer: str) -> str:
        if self.stumbles:
            self.stumbles -= 1
            return "It is a fine answer."
        return f'{{"rating": {next(mark for mark in answer if mark.isdigit())}}}'


@pytest.fixture
def replies() -> Replies:
    return Replies()


@pytest.fixture
def model(replies: Replies, monkeypatch: pytest.MonkeyPatch) -> Iterator[RatingServer]:
    with serving(replies, monkeypatch) as server:
        yield server


def test_a_rating_becomes_a_score_and_equal_answers_are_asked_about_once(
    model: RatingServer,
) -> None:
    judge = LanguageModelJudge("openai/judge")
    answered = [JudgedAnswer("Why?", f"rate {n}", ("a passage",)) for n in (5, 1, 3, 5)]

    assert judge.score_all([*answered, JudgedAnswer("Why?", "  ")]) == [1.0, 0.0, 0.5, 1.0, 0.0]
    assert judge.usage.calls == len(model.prompts) == 3
    assert all("a passage" in prompt for prompt in model.prompts)


def test_scores_do_not_hang_on_the_order_given(model: RatingServer) -> None:
    judge = LanguageModelJudge("openai/judge")
    answered = [JudgedAnswer("Why?", f"{n % 5 + 1} is answer {n}") for n in range(12)]

    assert judge.score_all(answered[::-1]) == judge.score_all(answered)[::-1]


def test_an_unreadable_rating_is_asked_for_again_and_then_refused(
    model: RatingServer, replies: Replies
) -> None:
    judge = LanguageModelJudge("openai/judge")
    replies.stumbles = 2

    assert judge.score_all([JudgedAnswer("Why?", "rate 4")]) == [0.75]
    assert judge.usage.unreadable == 2

    replies.stumbles = 3
    with pytest.raises(TwinError, match="no rating in 3 attempts"):
        judge.score_all([JudgedAnswer("Why?", "rate 4")])


@pytest.mark.parametrize(
    ("said", "score"),
    [('{"rating": 4}', 0.75), ('{"rating": 1}', 0.0), ('{"rating": 6}', None), ("4", None)],
)
def test_a_rating_is_read_by_its_name(said: str, score: float | None) -> None:
    assert RUBRIC.parse(said) == score


def test_another_model_is_another_judge() -> None:
    one, two = LanguageModelJudge("openai/a"), LanguageModelJudge("openai/b")

    assert identity(one) != identity(two)
