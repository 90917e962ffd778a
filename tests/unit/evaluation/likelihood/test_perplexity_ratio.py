"""The ratio of two perplexities and its interval; no model is needed for the statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood, perplexity_ratio


def test_perplexity_weighs_tokens_not_passages() -> None:
    found = AnswerLikelihood((10 * math.log(4), 30 * math.log(16)), (10, 30))

    assert found.perplexity == pytest.approx(math.exp((10 * math.log(4) + 30 * math.log(16)) / 40))


def test_the_ratio_is_that_of_the_perplexities() -> None:
    mine = AnswerLikelihood((30.0, 50.0, 21.0), (10, 20, 9))
    other = AnswerLikelihood((34.0, 52.0, 25.0), (10, 20, 9))

    found = perplexity_ratio(mine, other)

    assert found.ratio == pytest.approx(mine.perplexity / other.perplexity)
    assert found.low < found.ratio < found.high


def test_other_passages_are_refused() -> None:
    with pytest.raises(ValueError, match="same"):
        perplexity_ratio(AnswerLikelihood((1.0, 2.0), (3, 4)), AnswerLikelihood((1.0, 2.0), (3, 5)))
    with pytest.raises(ValueError, match="two"):
        perplexity_ratio(AnswerLikelihood((1.0,), (3,)), AnswerLikelihood((1.0,), (3,)))


def test_the_interval_covers_the_truth_in_about_95_of_100_samples() -> None:
    """Passages of uneven length, differences of uneven spread: 40 a sample, 2,000 samples."""
    random = np.random.default_rng(5)
    truth = math.exp(-0.1)
    covered = 0
    for _ in range(2000):
        tokens = random.integers(40, 160, 40)
        difference = -0.1 * tokens + random.normal(0, 0.8 * np.sqrt(tokens))
        other = 3.0 * tokens
        found = perplexity_ratio(
            AnswerLikelihood(tuple(other + difference), tuple(int(count) for count in tokens)),
            AnswerLikelihood(tuple(other), tuple(int(count) for count in tokens)),
        )
        covered += found.low <= truth <= found.high

    assert 0.92 <= covered / 2000 <= 0.97
