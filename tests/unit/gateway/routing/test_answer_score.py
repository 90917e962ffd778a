"""The score at hand of an answer: words that its passages hold, loops, nothing to go by."""

from __future__ import annotations

import pytest

from twin_resources.router.answer_score import answer_score, repeated

PASSAGES = ("Brass wants a drop of clock oil.", "Wheels are cleaned first.")


def test_an_answer_from_its_passages_scores_above_one_from_elsewhere() -> None:
    near = answer_score("Clean the wheels, then brass wants one drop of oil.", PASSAGES)
    far = answer_score("Silver lining, marble staircases and elephants.", PASSAGES)
    assert near > 0.5 > far == 0.0


def test_a_loop_is_worth_less_than_saying_it_once() -> None:
    once = "Brass wants a drop of clock oil. "
    assert repeated(once) == 0.0
    assert repeated(once * 10) == pytest.approx(1 - 7 / 67)
    assert answer_score(once * 10, PASSAGES) < 0.2 < answer_score(once, PASSAGES)


@pytest.mark.parametrize(("answer", "passages"), [("", PASSAGES), ("Brass", ()), ("a b", PASSAGES)])
def test_with_nothing_to_go_by_it_is_zero(answer: str, passages: tuple[str, ...]) -> None:
    assert answer_score(answer, passages) == 0.0
