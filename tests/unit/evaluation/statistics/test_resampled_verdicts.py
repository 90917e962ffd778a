"""The share of verdicts that other draws would turn, against what is known of it."""

from __future__ import annotations

import math
import random

import pytest

from twin_assets.evaluation.likelihood.perplexity import AnswerLikelihood, difference_of
from twin_assets.evaluation.likelihood.perplexity import perplexity_ratio as ratio_of
from twin_assets.evaluation.statistics.resampled_verdicts import of_mean, of_ratio, of_share


def test_a_model_far_above_the_limit_is_never_refused_and_one_at_it_half_of_the_time() -> None:
    chance = random.Random(3)
    spread = [chance.uniform(0.6, 1.0) for _ in range(60)]
    far = of_mean("topic", [0.3 + one / 1.5 for one in spread], at_least=0.6)
    near = of_mean("topic", spread, at_least=sum(spread) / len(spread))

    assert (far.refused, far.drawn) == (0.0, 60)
    assert near.refused == pytest.approx(0.5, abs=0.05)
    assert near.passed_at_limit == pytest.approx(0.5, abs=0.05)
    assert far.passed_at_limit == pytest.approx(0.5, abs=0.05)


def test_a_mean_one_standard_error_above_the_limit_is_refused_as_a_normal_one_would_be() -> None:
    scores = [0.0, 1.0] * 50
    error = 0.5 / math.sqrt(len(scores))

    assert of_mean("topic", scores, at_least=0.5 - error).refused == pytest.approx(0.16, abs=0.04)
    # questions of one post are one observation: the spread is wider, and so is the doubt
    posts = [number // 10 for number in range(100)]
    sorted_by_post = sorted(scores)
    grouped = of_mean("topic", sorted_by_post, at_least=0.5 - error, documents=posts)
    assert grouped.drawn == 10
    assert grouped.refused > 0.3


def test_scores_without_spread_are_decided_alike_each_time() -> None:
    assert of_mean("topic", [0.9] * 30, at_least=0.8).refused == 0.0
    assert of_mean("topic", [0.7] * 30, at_least=0.8).refused == 1.0
    assert of_mean("topic", [0.9] * 30, at_least=0.8).passed_at_limit == 1.0


def likelihoods(factor: float) -> tuple[AnswerLikelihood, AnswerLikelihood]:
    chance = random.Random(5)
    base = [chance.uniform(100, 200) for _ in range(60)]
    mine = [one * chance.gauss(factor, 0.02) for one in base]
    tokens = (50,) * len(base)
    return AnswerLikelihood(tuple(mine), tokens), AnswerLikelihood(tuple(base), tokens)


@pytest.mark.parametrize(("factor", "low", "high"), [
    (0.95, 0.0, 0.0), (1.0, 0.9, 1.0), (1.05, 1.0, 1.0),
])  # fmt: skip
def test_a_rule_by_interval_gives_away_a_fortieth_at_the_limit(
    factor: float, low: float, high: float
) -> None:
    mine, base = likelihoods(factor)
    ratio = ratio_of(mine, base)

    found = of_ratio("beats", difference_of(mine, base), high=ratio.high, below=1.0, beside="base")

    assert low <= found.refused <= high
    assert 0.005 <= found.passed_at_limit <= 0.05
    assert found.beside == "base"


def test_a_share_of_none_has_a_spread_at_the_limit_all_the_same() -> None:
    none = of_share("recites", 0, 98, at_most=0.1)
    some = of_share("recites", 9, 98, at_most=0.1)

    assert none.refused == 0.0
    assert none.passed_at_limit == pytest.approx(0.51, abs=0.06)
    assert 0.3 < some.refused < 0.5
    with pytest.raises(ValueError, match="no answers"):
        of_share("recites", 0, 0, at_most=0.1)
