"""Test the ratio of two perplexities and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twin_assets.evaluation.likelihood.perplexity import (
    AnswerLikelihood,
    independent_ratio,
    perplexity_ratio,
)


def test_perplexity_weights_tokens_equally() -> None:
    found = AnswerLikelihood((10 * math.log(4), 30 * math.log(16)), (10, 30))

    assert found.perplexity == pytest.approx(math.exp((10 * math.log(4) + 30 * math.log(16)) / 40))


def test_the_ratio_equals_the_quotient_of_the_perplexities() -> None:
    mine = AnswerLikelihood((30.0, 50.0, 21.0), (10, 20, 9))
    other = AnswerLikelihood((34.0, 52.0, 25.0), (10, 20, 9))

    found = perplexity_ratio(mine, other)

    assert found.value == pytest.approx(mine.perplexity / other.perplexity)
    assert found.low < found.value < found.high


def test_different_passages_are_an_error() -> None:
    with pytest.raises(ValueError, match="same"):
        perplexity_ratio(AnswerLikelihood((1.0, 2.0), (3, 4)), AnswerLikelihood((1.0, 2.0), (3, 5)))
    with pytest.raises(ValueError, match="two"):
        perplexity_ratio(AnswerLikelihood((1.0,), (3,)), AnswerLikelihood((1.0,), (3,)))


def draw_likelihoods(
    chance: np.random.Generator, *, documents: int, passages: int, shared: float, own: float
) -> tuple[AnswerLikelihood, AnswerLikelihood, list[int]]:
    """Passages of uneven length whose gains, .1 nats a token, differ between documents (`shared`)
    and within them (`own`)."""
    of = [number // passages for number in range(documents * passages)]
    tokens = chance.integers(40, 160, len(of))
    gain = 0.1 + chance.normal(0, shared, documents)[of]
    difference = -gain * tokens + chance.normal(0, own * np.sqrt(tokens))
    base = 3.0 * tokens
    counts = tuple(int(count) for count in tokens)
    return (
        AnswerLikelihood(tuple(base + difference), counts),
        AnswerLikelihood(tuple(base), counts),
        of,
    )


@pytest.mark.parametrize(
    ("documents", "passages", "shared", "own"),
    [
        (40, 1, 0.0, 0.8),
        (20, 3, 0.1, 0.3),  # passages of a post resemble each other
        (4, 10, 0.1, 0.3),  # few long posts
    ],
)
def test_the_interval_covers_the_truth_in_about_95_of_100_samples(
    documents: int, passages: int, shared: float, own: float
) -> None:
    chance = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        mine, base, of = draw_likelihoods(
            chance, documents=documents, passages=passages, shared=shared, own=own
        )
        found = perplexity_ratio(mine, base, documents=of)
        covered += found.low <= math.exp(-0.1) <= found.high

    assert 0.91 <= covered / 300 <= 0.985


def test_two_ratios_are_resampled_independently() -> None:
    """Resampled together, equal passages would show no difference at all."""
    one, base, of = draw_likelihoods(
        np.random.default_rng(3), documents=24, passages=1, shared=0.1, own=0.3
    )
    alone = perplexity_ratio(one, base, documents=of)

    found = independent_ratio((one, base), (one, base), documents=(of, of))

    assert found.value == pytest.approx(1.0)
    reach = math.log(alone.high / alone.low)
    assert math.log(found.high / found.low) == pytest.approx(math.sqrt(2) * reach, rel=0.1)


def test_huge_losses_give_an_infinite_perplexity() -> None:
    mine, base = AnswerLikelihood((9e5, 8e5), (10, 10)), AnswerLikelihood((30.0, 31.0), (10, 10))

    assert mine.perplexity == math.inf
    assert perplexity_ratio(mine, base).value == math.inf
