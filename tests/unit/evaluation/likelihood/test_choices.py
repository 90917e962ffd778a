"""The common questions, and what two models' likelihoods of their options say."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest

from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.measures.common_knowledge import (
    MAX_DROP_BELOW_BASE,
    OPTIONS_PER_QUESTION,
    CommonKnowledge,
    claim,
    compare,
    make_rows,
    read_choices,
)
from twin_assets.evaluation.measures.measure import NotMeasured

IDS = [str(row["sample_id"]) for row in make_rows()]


def model(right: float, *, wrong: float = 4.0, knows: int = 100) -> AnswerLikelihood:
    """Nats a token of right and wrong options; of the questions behind `knows` they are turned."""
    nats: list[float] = []
    for number in range(len(read_choices())):
        own, other = (right, wrong) if number < knows else (wrong, right)
        nats += [2 * own, *[2 * other] * (OPTIONS_PER_QUESTION - 1)]
    return AnswerLikelihood(tuple(nats), (2,) * len(nats))


def found(candidate: AnswerLikelihood, base: AnswerLikelihood) -> CommonKnowledge:
    knowledge = compare(candidate, base, sample_ids=IDS)
    assert isinstance(knowledge, CommonKnowledge)
    return knowledge


def test_there_are_a_hundred_questions_with_two_options_alike_in_length() -> None:
    asked = read_choices()

    assert len(asked) == len({one.id for one in asked}) == len({one.question for one in asked})
    assert len(asked) == 100
    for one in asked:
        assert len(set(one.options)) == OPTIONS_PER_QUESTION
        words = [len(option.split()) for option in one.options]
        assert max(words) - min(words) <= 1, one
    assert min(Counter(one.kind for one in asked).values()) >= 5
    # a model that prefers longer options, or shorter ones, is no better than chance
    longer = sum(len(one.right) > len(one.wrong) for one in asked)
    shorter = sum(len(one.right) < len(one.wrong) for one in asked)
    assert abs(longer - shorter) <= 20


def test_rows_are_the_options_of_each_question_as_its_answers_the_right_one_first() -> None:
    first = read_choices()[0]

    assert len(IDS) == len(set(IDS)) == 200
    talks = [row["messages"] for row in make_rows()[:OPTIONS_PER_QUESTION]]
    assert {talk[0]["content"] for talk in talks} == {first.question}
    assert [talk[1]["content"] for talk in talks] == list(first.options)


def test_what_is_held_is_the_softmax_of_mean_log_probabilities_a_token() -> None:
    same = found(model(2.0), model(2.0))

    held = math.exp(-2) / (math.exp(-2) + math.exp(-4))
    assert same.held.value == pytest.approx(held)
    assert (same.candidate.found, same.base.found) == (100, 100)
    assert (same.difference.value, same.difference.low) == (0, 0)
    # twice as many tokens with as many nats each hold the same
    longer = AnswerLikelihood(
        tuple(
            2 * negative_log_likelihood
            for negative_log_likelihood in model(2.0).negative_log_likelihoods
        ),
        (4,) * len(IDS),
    )
    assert found(longer, longer).held.value == pytest.approx(held)


@pytest.mark.parametrize(("right", "kept"), [(1.5, True), (2.0, True), (2.6, True), (2.9, False)])
def test_right_options_that_become_less_likely_refuse(right: float, kept: bool) -> None:
    told = claim(found(model(right), model(2.0)))

    assert told.passed is kept, told.detail
    assert told.threshold == -MAX_DROP_BELOW_BASE


def test_forgotten_questions_refuse() -> None:
    forgot = found(model(2.0, knows=80), model(2.0))

    assert forgot.candidate.found == 80
    assert claim(forgot).passed is False


def test_the_interval_counts_and_not_the_mean_alone() -> None:
    """Losses of .09 and .08 on average: one alike in all questions, one of eleven of them."""
    alike = found(model(2.7), model(2.0))
    few = found(model(2.0, knows=89), model(2.0))

    assert alike.difference.value > -MAX_DROP_BELOW_BASE
    assert claim(alike).passed
    assert few.difference.value == pytest.approx(-0.084, abs=0.001)
    assert claim(few).passed is False


def test_a_base_that_knows_nothing_has_nothing_to_lose() -> None:
    guessing = found(model(2.0, knows=40), model(2.0, knows=55))

    told = claim(guessing)
    assert told.passed
    assert "nothing to keep" in told.detail
    assert claim(replace(guessing, base=found(model(2.0), model(2.0)).base)).passed is False


def test_a_model_of_no_numbers_knows_nothing() -> None:
    told = claim(found(model(math.nan, wrong=math.nan), model(2.0)))

    assert told.passed is False


def test_a_question_that_lost_an_option_is_left_out_and_too_few_compare_nothing() -> None:
    def without(gone: int) -> CommonKnowledge | NotMeasured:
        """Without the last option of the first questions."""
        kept = [
            at
            for at in range(len(IDS))
            if at % OPTIONS_PER_QUESTION != OPTIONS_PER_QUESTION - 1
            or at >= OPTIONS_PER_QUESTION * gone
        ]
        some = AnswerLikelihood(
            tuple(model(2.0).negative_log_likelihoods[at] for at in kept), (2,) * len(kept)
        )
        return compare(some, some, sample_ids=[IDS[at] for at in kept])

    most = without(3)
    assert isinstance(most, CommonKnowledge)
    assert most.candidate.of == 97
    assert without(41) == NotMeasured("fewer than 60 questions could be tokenized")
