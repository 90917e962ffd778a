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
    likelihood = AnswerLikelihood((10 * math.log(4), 30 * math.log(16)), (10, 30))

    assert likelihood.perplexity == pytest.approx(
        math.exp((10 * math.log(4) + 30 * math.log(16)) / 40)
    )


def test_the_ratio_equals_the_quotient_of_the_perplexities() -> None:
    candidate = AnswerLikelihood((30.0, 50.0, 21.0), (10, 20, 9))
    other = AnswerLikelihood((34.0, 52.0, 25.0), (10, 20, 9))

    ratio = perplexity_ratio(candidate, other)

    assert ratio.value == pytest.approx(candidate.perplexity / other.perplexity)
    assert ratio.low < ratio.value < ratio.high


def test_different_passages_are_an_error() -> None:
    with pytest.raises(ValueError, match="same"):
        perplexity_ratio(AnswerLikelihood((1.0, 2.0), (3, 4)), AnswerLikelihood((1.0, 2.0), (3, 5)))
    with pytest.raises(ValueError, match="two"):
        perplexity_ratio(AnswerLikelihood((1.0,), (3,)), AnswerLikelihood((1.0,), (3,)))


def draw_likelihoods(
    rng: np.random.Generator,
    *,
    document_count: int,
    passages_per_document: int,
    document_spread: float,
    passage_spread: float,
) -> tuple[AnswerLikelihood, AnswerLikelihood, list[int]]:
    """Return likelihoods of candidate and base, and the document of each passage.

    The candidate gains .1 nats per token on average. The gains vary between documents
    (`document_spread`) and within them (`passage_spread`).
    """
    post_ids = [n // passages_per_document for n in range(document_count * passages_per_document)]
    tokens = rng.integers(40, 160, len(post_ids))
    gain = 0.1 + rng.normal(0, document_spread, document_count)[post_ids]
    difference = -gain * tokens + rng.normal(0, passage_spread * np.sqrt(tokens))
    base = 3.0 * tokens
    counts = tuple(int(count) for count in tokens)
    return (
        AnswerLikelihood(tuple(base + difference), counts),
        AnswerLikelihood(tuple(base), counts),
        post_ids,
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("document_count", "passages_per_document", "document_spread", "passage_spread"),
    [
        (40, 1, 0.0, 0.8),
        (20, 3, 0.1, 0.3),  # passages of a post are similar
        (4, 10, 0.1, 0.3),  # few long posts
    ],
)
def test_the_interval_covers_the_truth_in_about_95_of_100_samples(
    document_count: int, passages_per_document: int, document_spread: float, passage_spread: float
) -> None:
    rng = np.random.default_rng(5)
    covered_count = 0
    for _ in range(300):
        candidate, base, post_ids = draw_likelihoods(
            rng,
            document_count=document_count,
            passages_per_document=passages_per_document,
            document_spread=document_spread,
            passage_spread=passage_spread,
        )
        ratio = perplexity_ratio(candidate, base, documents=post_ids)
        covered_count += ratio.low <= math.exp(-0.1) <= ratio.high

    assert 0.91 <= covered_count / 300 <= 0.985


def test_two_ratios_are_resampled_independently() -> None:
    """Joint resampling of equal passages would give a difference of zero."""
    candidate, base, post_ids = draw_likelihoods(
        np.random.default_rng(3),
        document_count=24,
        passages_per_document=1,
        document_spread=0.1,
        passage_spread=0.3,
    )
    single_ratio = perplexity_ratio(candidate, base, documents=post_ids)

    ratio = independent_ratio((candidate, base), (candidate, base), documents=(post_ids, post_ids))

    assert ratio.value == pytest.approx(1.0)
    width = math.log(single_ratio.high / single_ratio.low)
    assert math.log(ratio.high / ratio.low) == pytest.approx(math.sqrt(2) * width, rel=0.1)


def test_huge_losses_give_an_infinite_perplexity() -> None:
    candidate, base = (
        AnswerLikelihood((9e5, 8e5), (10, 10)),
        AnswerLikelihood((30.0, 31.0), (10, 10)),
    )

    assert candidate.perplexity == math.inf
    assert perplexity_ratio(candidate, base).value == math.inf
