"""Test the common questions, and comparing two models' likelihoods of their options."""

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
    """Return nats per token of right and wrong options, swapped from question `knows` on."""
    nats: list[float] = []
    for number in range(len(read_choices())):
        own, other = (right, wrong) if number < knows else (wrong, right)
        nats += [2 * own, *[2 * other] * (OPTIONS_PER_QUESTION - 1)]
    return AnswerLikelihood(tuple(nats), (2,) * len(nats))


def compare_models(candidate: AnswerLikelihood, base: AnswerLikelihood) -> CommonKnowledge:
    knowledge = compare(candidate, base, sample_ids=IDS)
    assert isinstance(knowledge, CommonKnowledge)
    return knowledge


def test_a_hundred_questions_have_two_options_of_similar_length() -> None:
    choices = read_choices()

    assert (
        len(choices)
        == len({choice.id for choice in choices})
        == len({choice.question for choice in choices})
    )
    assert len(choices) == 100
    for choice in choices:
        assert len(set(choice.options)) == OPTIONS_PER_QUESTION
        words = [len(option.split()) for option in choice.options]
        assert max(words) - min(words) <= 1, choice
    assert min(Counter(choice.kind for choice in choices).values()) >= 5
    # a model that prefers longer options, or shorter ones, is no better than chance
    longer = sum(len(choice.right) > len(choice.wrong) for choice in choices)
    shorter = sum(len(choice.right) < len(choice.wrong) for choice in choices)
    assert abs(longer - shorter) <= 20


def test_rows_contain_the_options_of_each_question() -> None:
    first = read_choices()[0]

    assert len(IDS) == len(set(IDS)) == 200
    talks = [row["messages"] for row in make_rows()[:OPTIONS_PER_QUESTION]]
    assert {talk[0]["content"] for talk in talks} == {first.question}
    assert [talk[1]["content"] for talk in talks] == list(first.options)


def test_probabilities_are_the_softmax_of_mean_log_probabilities() -> None:
    same = compare_models(model(2.0), model(2.0))

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
    assert compare_models(longer, longer).held.value == pytest.approx(held)


@pytest.mark.parametrize(
    ("right", "is_kept"), [(1.5, True), (2.0, True), (2.6, True), (2.9, False)]
)
def test_less_likely_right_options_fail(right: float, is_kept: bool) -> None:
    decision = claim(compare_models(model(right), model(2.0)))

    assert decision.passed is is_kept, decision.detail
    assert decision.threshold == -MAX_DROP_BELOW_BASE


def test_forgotten_questions_fail() -> None:
    forgot = compare_models(model(2.0, knows=80), model(2.0))

    assert forgot.candidate.found == 80
    assert claim(forgot).passed is False


def test_the_whole_interval_must_be_within_the_limit() -> None:
    """The first mean loss of .09 affects all questions, the second of .08 only eleven."""
    alike = compare_models(model(2.7), model(2.0))
    few = compare_models(model(2.0, knows=89), model(2.0))

    assert alike.difference.value > -MAX_DROP_BELOW_BASE
    assert claim(alike).passed
    assert few.difference.value == pytest.approx(-0.084, abs=0.001)
    assert claim(few).passed is False


def test_a_guessing_base_has_nothing_to_keep() -> None:
    guessing = compare_models(model(2.0, knows=40), model(2.0, knows=55))

    decision = claim(guessing)
    assert decision.passed
    assert "nothing to keep" in decision.detail
    assert (
        claim(replace(guessing, base=compare_models(model(2.0), model(2.0)).base)).passed is False
    )


def test_non_finite_likelihoods_fail() -> None:
    decision = claim(compare_models(model(math.nan, wrong=math.nan), model(2.0)))

    assert decision.passed is False


def test_incomplete_questions_are_left_out() -> None:
    def without(gone: int) -> CommonKnowledge | NotMeasured:
        """Compare the model with itself, without the last option of the first questions."""
        positions = [
            at
            for at in range(len(IDS))
            if at % OPTIONS_PER_QUESTION != OPTIONS_PER_QUESTION - 1
            or at >= OPTIONS_PER_QUESTION * gone
        ]
        likelihood = AnswerLikelihood(
            tuple(model(2.0).negative_log_likelihoods[at] for at in positions),
            (2,) * len(positions),
        )
        return compare(likelihood, likelihood, sample_ids=[IDS[at] for at in positions])

    most = without(3)
    assert isinstance(most, CommonKnowledge)
    assert most.candidate.of == 97
    assert without(41) == NotMeasured("fewer than 60 questions could be tokenized")
