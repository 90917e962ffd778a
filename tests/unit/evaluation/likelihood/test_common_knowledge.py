"""Test the common questions and the comparison of two models' likelihoods of their options."""

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
    build_rows,
    compare,
    decide_claim,
    read_choices,
)
from twin_assets.evaluation.measures.measure import NotMeasured

IDS = [str(row["sample_id"]) for row in build_rows()]


def make_likelihood(
    right: float, *, wrong: float = 4.0, known_count: int = 100
) -> AnswerLikelihood:
    """Return these nats per token of right and wrong options.

    From question `known_count` on, the two are swapped.
    """
    nats: list[float] = []
    for number in range(len(read_choices())):
        right_nats, wrong_nats = (right, wrong) if number < known_count else (wrong, right)
        nats += [2 * right_nats, *[2 * wrong_nats] * (OPTIONS_PER_QUESTION - 1)]
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
    # a preference for longer or shorter options must not beat chance
    longer = sum(len(choice.right) > len(choice.wrong) for choice in choices)
    shorter = sum(len(choice.right) < len(choice.wrong) for choice in choices)
    assert abs(longer - shorter) <= 20


def test_rows_contain_the_options_of_each_question() -> None:
    first = read_choices()[0]

    assert len(IDS) == len(set(IDS)) == 200
    conversations = [row["messages"] for row in build_rows()[:OPTIONS_PER_QUESTION]]
    assert {messages[0]["content"] for messages in conversations} == {first.question}
    assert [messages[1]["content"] for messages in conversations] == list(first.options)


def test_probabilities_are_the_softmax_of_mean_log_probabilities() -> None:
    unchanged = compare_models(make_likelihood(2.0), make_likelihood(2.0))

    probability = math.exp(-2) / (math.exp(-2) + math.exp(-4))
    assert unchanged.held.value == pytest.approx(probability)
    assert (unchanged.candidate.found, unchanged.base.found) == (100, 100)
    assert (unchanged.difference.value, unchanged.difference.low) == (0, 0)
    # twice as many tokens with the same nats per token give the same probability
    longer = AnswerLikelihood(
        tuple(
            2 * negative_log_likelihood
            for negative_log_likelihood in make_likelihood(2.0).negative_log_likelihoods
        ),
        (4,) * len(IDS),
    )
    assert compare_models(longer, longer).held.value == pytest.approx(probability)


@pytest.mark.parametrize(("right", "passed"), [(1.5, True), (2.0, True), (2.6, True), (2.9, False)])
def test_less_likely_right_options_fail(right: float, passed: bool) -> None:
    decision = decide_claim(compare_models(make_likelihood(right), make_likelihood(2.0)))

    assert decision.passed is passed, decision.detail
    assert decision.threshold == -MAX_DROP_BELOW_BASE


def test_forgotten_questions_fail() -> None:
    forgetful = compare_models(make_likelihood(2.0, known_count=80), make_likelihood(2.0))

    assert forgetful.candidate.found == 80
    assert decide_claim(forgetful).passed is False


def test_the_whole_interval_must_be_within_the_limit() -> None:
    """A mean loss of .09 over all questions passes; one of .08 over eleven questions fails."""
    small_loss = compare_models(make_likelihood(2.7), make_likelihood(2.0))
    few_forgotten = compare_models(make_likelihood(2.0, known_count=89), make_likelihood(2.0))

    assert small_loss.difference.value > -MAX_DROP_BELOW_BASE
    assert decide_claim(small_loss).passed
    assert few_forgotten.difference.value == pytest.approx(-0.084, abs=0.001)
    assert decide_claim(few_forgotten).passed is False


def test_a_guessing_base_has_nothing_to_keep() -> None:
    knowledge = compare_models(
        make_likelihood(2.0, known_count=40), make_likelihood(2.0, known_count=55)
    )

    decision = decide_claim(knowledge)
    assert decision.passed
    assert "nothing to keep" in decision.detail
    assert (
        decide_claim(
            replace(knowledge, base=compare_models(make_likelihood(2.0), make_likelihood(2.0)).base)
        ).passed
        is False
    )


def test_non_finite_likelihoods_fail() -> None:
    decision = decide_claim(
        compare_models(make_likelihood(math.nan, wrong=math.nan), make_likelihood(2.0))
    )

    assert decision.passed is False


def test_incomplete_questions_are_excluded() -> None:
    def drop_options(count: int) -> CommonKnowledge | NotMeasured:
        """Compare the model with itself, without the last option of the first questions."""
        positions = [
            index
            for index in range(len(IDS))
            if index % OPTIONS_PER_QUESTION != OPTIONS_PER_QUESTION - 1
            or index >= OPTIONS_PER_QUESTION * count
        ]
        likelihood = AnswerLikelihood(
            tuple(make_likelihood(2.0).negative_log_likelihoods[index] for index in positions),
            (2,) * len(positions),
        )
        return compare(likelihood, likelihood, sample_ids=[IDS[index] for index in positions])

    three_dropped = drop_options(3)
    assert isinstance(three_dropped, CommonKnowledge)
    assert three_dropped.candidate.of == 97
    assert drop_options(41) == NotMeasured("fewer than 60 questions could be tokenized")
