"""Asking a language model to rate: once each, in no writer's order, with an account."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.judges.rating_server import RatingServer, serving
from twin_resources.errors import TwinError
from twin_resources.quality.judges.asking import Rubric, RubricRater, parse_ratings, rating_to_score
from twin_resources.quality.judges.judge import JudgedAnswer

PROMPT = "{samples}|{question}|{passages}|<answer>\n{answer}\n</answer>"


def rubric() -> Rubric[int]:
    shown = (("samples", "prose of somebody"),)
    return Rubric(
        PROMPT, ("n",), lambda numbers: numbers[0], max_reply_tokens=5, extra_fields=shown
    )


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[RatingServer]:
    """Says the answer's last word as its number."""
    with serving(lambda answer: f'{{"n": {answer.split()[-1]}}}', monkeypatch) as server:
        yield server


def test_each_answer_is_asked_about_once_and_an_empty_one_never(model: RatingServer) -> None:
    rater = RubricRater("openai/judge", rubric(), required=True)
    one, two = JudgedAnswer("Why?", "It says 4", ("a", "b")), JudgedAnswer("Why?", "It says 2")

    found = rater.rate([one, two, one, JudgedAnswer("Why?", " \n")])

    assert found == {one: 4, two: 2}
    assert sorted(model.prompts) == sorted(
        [
            "prose of somebody|Why?|a\n\nb|<answer>\nIt says 4\n</answer>",
            "prose of somebody|Why?|(none)|<answer>\nIt says 2\n</answer>",
        ]
    )
    assert (rater.usage.calls, rater.usage.unreadable) == (2, 0)


def test_the_order_follows_from_the_texts(model: RatingServer) -> None:
    rater = RubricRater("openai/judge", rubric(), required=True)
    answered = [JudgedAnswer("Why?", f"Of {n} it says {n % 5 + 1}") for n in range(20)]

    forwards = list(rater.rate(answered))

    assert forwards == list(rater.rate(answered[::-1]))
    assert forwards != answered
    assert forwards != answered[::-1]


def test_what_cannot_be_read_is_asked_thrice_and_then_missing_or_an_error(
    model: RatingServer,
) -> None:
    one = JudgedAnswer("Why?", "It says nothing")

    lenient = RubricRater("openai/judge", rubric(), required=False)
    assert lenient.rate([one, JudgedAnswer("Why?", "It says 1")])[one] is None
    assert (lenient.usage.calls, lenient.usage.unreadable) == (4, 3)
    with pytest.raises(TwinError, match="no rating in 3 attempts"):
        RubricRater("openai/judge", rubric(), required=True).rate([one])


def test_a_model_that_cannot_be_reached_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda answer: answer, monkeypatch):
        pass  # gone now, its port is free
    with pytest.raises(TwinError, match="rate 1 answers"):
        RubricRater("openai/judge", rubric(), required=False).rate(
            [JudgedAnswer("Why?", "It says 1")]
        )


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ('{"a": 5, "b": 1}', (5, 1)),
        ('```json\n{"b": 3, "a": 2}\n```', (2, 3)),
        ('{"a": 5}', None),
        ('{"a": 0, "b": 1}', None),
        ('{"a": 5, "b": 6}', None),
        ('{"a": 4.5, "b": 1}', None),
        ('{"a": true, "b": 1}', None),
        ('{"a": "5", "b": 1}', None),
        ('{"a": 5, "b": 1} or {"a": 1, "b": 1}', None),
        ("{a: 5, b: 1}", None),
        ("5 and 1", None),
    ],
)
def test_only_whole_numbers_of_one_object_count(said: str, numbers: tuple[int, ...] | None) -> None:
    assert parse_ratings(said, ["a", "b"]) == numbers


def test_the_reply_is_asked_for_by_a_schema(model: RatingServer) -> None:
    RubricRater("openai/judge", rubric(), required=True).rate([JudgedAnswer("Why?", "It says 4")])

    [asked] = model.formats
    assert asked["type"] == "json_schema"
    schema = asked["json_schema"]["schema"]
    assert schema["properties"] == {"n": {"type": "integer", "enum": [1, 2, 3, 4, 5]}}
    assert schema["required"] == ["n"]


def test_a_server_that_refuses_the_schema_is_asked_without(model: RatingServer) -> None:
    model.refuses_formats = True
    one, two = JudgedAnswer("Why?", "It says 4"), JudgedAnswer("Why?", "It says 2")
    rater = RubricRater("openai/judge", rubric(), required=True)

    assert rater.rate([one, two]) == {one: 4, two: 2}
    assert model.formats == [{}, {}]


def test_scores_span_0_to_1() -> None:
    assert [rating_to_score(number) for number in (1, 3, 5)] == [0.0, 0.5, 1.0]
