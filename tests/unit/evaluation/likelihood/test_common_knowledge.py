"""Test the common questions and the comparison of two models' likelihoods of their options."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood
from twin_assets.evaluation.measures.common_knowledge import (
    MAX_DROP_BELOW_BASE,
    OPTIONS_PER_QUESTION,
    build_rows,
    decide_claim,
    read_choices,
)
from twin_resources.registry.moves import GateClaim

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


def decide(candidate: AnswerLikelihood, base: AnswerLikelihood) -> GateClaim:
    claim = decide_claim(candidate, base, sample_ids=IDS)
    assert isinstance(claim, GateClaim)
    return claim


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
    likelihood = make_likelihood(2.0)
    # twice as many tokens with the same nats per token give the same probability
    longer = AnswerLikelihood(
        tuple(2 * nats for nats in likelihood.negative_log_likelihoods), (4,) * len(IDS)
    )

    probability = math.exp(-2) / (math.exp(-2) + math.exp(-4))
    for model in (likelihood, longer):
        claim = decide(model, model)
        assert claim.detail.startswith(
            f"mean probability of the right option in 100 questions {probability:.3f}, base model "
            f"{probability:.3f}: +0.000 (95 %: +0.000 to +0.000)"
        )
        assert claim.detail.endswith("chosen 100, by the base 100")


@pytest.mark.parametrize(
    ("right", "known_count", "met"),
    [
        (1.5, 100, True),
        (2.0, 100, True),
        (2.6, 100, True),
        (2.7, 100, True),  # a mean loss of .09 over all questions
        (2.9, 100, False),
        (2.0, 80, False),  # forgotten questions
        (2.0, 89, False),  # a loss of .08 over eleven questions; the interval reaches the limit
    ],
)
def test_less_likely_right_options_fail(right: float, known_count: int, met: bool) -> None:
    claim = decide(make_likelihood(right, known_count=known_count), make_likelihood(2.0))

    assert claim.passed is met, claim.detail
    assert claim.threshold == -MAX_DROP_BELOW_BASE
    assert claim.value is not None
    assert claim.value > -MAX_DROP_BELOW_BASE or not met
    if known_count == 89:
        assert claim.value == pytest.approx(-0.084, abs=0.001)


def test_a_guessing_base_has_nothing_to_keep() -> None:
    forgetful = make_likelihood(2.0, known_count=40)

    claim = decide(forgetful, make_likelihood(2.0, known_count=55))

    assert claim.passed
    assert "nothing to keep" in claim.detail
    assert decide(forgetful, make_likelihood(2.0)).passed is False


def test_non_finite_likelihoods_fail() -> None:
    nothing = make_likelihood(math.nan, wrong=math.nan)
    assert decide(nothing, make_likelihood(2.0)).passed is False


def test_incomplete_questions_are_excluded() -> None:
    def drop_options(count: int) -> GateClaim | str:
        """Compare the model with itself, without the last option of the first questions."""
        positions = [
            index
            for index in range(len(IDS))
            if index % OPTIONS_PER_QUESTION != OPTIONS_PER_QUESTION - 1
            or index >= OPTIONS_PER_QUESTION * count
        ]
        nats = make_likelihood(2.0).negative_log_likelihoods
        likelihood = AnswerLikelihood(
            tuple(nats[index] for index in positions), (2,) * len(positions)
        )
        return decide_claim(likelihood, likelihood, sample_ids=[IDS[index] for index in positions])

    three_dropped = drop_options(3)
    assert isinstance(three_dropped, GateClaim)
    assert "in 97 questions" in three_dropped.detail
    assert drop_options(41) == "fewer than 60 questions could be tokenized"
