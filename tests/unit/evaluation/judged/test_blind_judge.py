"""The blind judge against an OpenAI-compatible server in this process (a paid API's stand-in)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.unit.judges.rating_server import RatingServer, serving
from twin_assets.evaluation.judged.blind_judge import (
    NAMES,
    RUBRIC,
    BlindJudge,
    Rating,
    compare,
    lines,
    rated,
)
from twin_resources.errors import TwinError
from twin_resources.quality.judges.judge import JudgedAnswer

SAMPLES = ("The lock had been broken since the summer.", "It did not fit, and so I cursed it.")
QUESTIONS = 12


class Replies:
    """Rates style by how often an answer says "alas"; accuracy is 3 always."""

    def __init__(self) -> None:
        self.sees_style = True
        self.unreadable = ""

    def __call__(self, answer: str) -> str:
        if self.unreadable and self.unreadable in answer:
            return "I would rather not say."
        style = min(5, 1 + answer.count("alas")) if self.sees_style else 3
        return json.dumps({"accuracy": 3, "style": style})


@pytest.fixture
def replies() -> Replies:
    return Replies()


@pytest.fixture
def model(replies: Replies, monkeypatch: pytest.MonkeyPatch) -> Iterator[RatingServer]:
    with serving(replies, monkeypatch) as server:
        yield server


def answers(manner: str) -> list[JudgedAnswer]:
    return [
        JudgedAnswer(f"Why {number}?", f"{manner} answer {number}.", (f"passage {number}",))
        for number in range(QUESTIONS)
    ]


WRITERS = {
    "candidate": answers("alas alas"),
    "base": answers("certainly"),
    "author": answers("alas alas alas alas"),
}


def test_differences_and_ceiling_come_out_with_intervals(model: RatingServer) -> None:
    found = compare(BlindJudge("openai/judge", samples=SAMPLES), WRITERS)

    means = {one.writer: (one.accuracy.value, one.style.value) for one in found.writers}
    assert means == {"candidate": (0.5, 0.5), "base": (0.5, 0.0), "author": (0.5, 1.0)}
    assert (found.style.value, found.accuracy.value) == (0.5, 0.0)
    assert found.style.low > 0.0
    assert found.tells_styles_apart is True
    assert found.unreadable == 0
    assert any("candidate − base: accuracy +0.00" in line for line in lines(found))
    assert [f"  - {line}" for line in RUBRIC.splitlines()] == lines(found)[-2:]
    assert all(RUBRIC in prompt for prompt in model.prompts)


def test_the_judge_is_told_samples_and_nothing_of_who_wrote(model: RatingServer) -> None:
    compare(BlindJudge("openai/judge", samples=SAMPLES), WRITERS)

    assert len(model.prompts) == 3 * QUESTIONS
    assert all(sample in prompt for prompt in model.prompts for sample in SAMPLES)
    assert not [one for one in model.prompts if "candidate" in one or "author" in one]
    order = [next(n for n in ("alas alas alas", "alas", "certainly") if n in one)
             for one in model.prompts]  # fmt: skip
    runs = 1 + sum(one != two for one, two in pairwise(order))
    assert runs > 10  # one pile: three runs would be writer after writer


def test_the_order_of_asking_does_not_follow_from_the_writer(model: RatingServer) -> None:
    judge = BlindJudge("openai/judge", samples=SAMPLES)
    swapped = {"candidate": WRITERS["base"], "base": WRITERS["candidate"]}

    there = compare(judge, {name: WRITERS[name] for name in ("candidate", "base")})
    back = compare(judge, swapped)

    assert there.style.value == -back.style.value
    assert there.tells_styles_apart is None


def test_a_judge_blind_to_style_says_so(model: RatingServer, replies: Replies) -> None:
    replies.sees_style = False

    found = compare(BlindJudge("openai/judge", samples=SAMPLES), WRITERS)

    assert found.tells_styles_apart is False
    assert any("its ratings of style say nothing" in line for line in lines(found))


def test_one_unreadable_rating_costs_one_question_and_many_refuse(
    model: RatingServer, replies: Replies
) -> None:
    judge = BlindJudge("openai/judge", samples=SAMPLES)
    replies.unreadable = "certainly answer 3."

    found = compare(judge, WRITERS)
    assert found.unreadable == 1
    assert {one.answers for one in found.writers} == {QUESTIONS - 1}

    replies.unreadable = "certainly"
    with pytest.raises(TwinError, match="12 of 36 without a rating"):
        compare(judge, WRITERS)


def test_equal_answers_are_asked_about_once_and_empty_ones_never(model: RatingServer) -> None:
    judge = BlindJudge("openai/judge", samples=SAMPLES)
    one = JudgedAnswer("Why?", "alas")

    assert judge.rate([one, one, JudgedAnswer("Why?", "  ")]) == [
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


def test_the_two_numbers_are_scores_by_their_names() -> None:
    assert NAMES == ("accuracy", "style")
    assert rated((5, 1)) == Rating(1.0, 0.0)
    assert rated((2, 3)) == Rating(0.25, 0.5)
