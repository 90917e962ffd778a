"""The share of verdicts that other draws would turn, against what is known of it."""

from __future__ import annotations

import math
import random

import pytest

from twin_assets.evaluation.measures.held_out_perplexity import LOOKS, LOOKS_LEVEL
from twin_assets.evaluation.statistics.resampled_verdicts import (
    of_differences,
    of_mean,
    of_ratio,
    of_share,
)
from twin_assets.evaluation.statistics.sequential import planned_looks


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


def columns(gain: float, *, passages: int = 60, spread: float = 0.15) -> list[list[float]]:
    """Nats and tokens of a model that is exactly so many nats a token likelier."""
    chance = random.Random(5)
    tokens = [float(chance.randint(40, 160)) for _ in range(passages)]
    nats = [count * chance.gauss(0.0, spread) for count in tokens]
    off = sum(nats) / sum(tokens) + gain
    return [[some - off * count for some, count in zip(nats, tokens, strict=True)], tokens]


@pytest.mark.parametrize(("gain", "low", "high"), [
    (0.2, 0.0, 0.0), (0.1, 0.0, 0.05), (0.0, 0.9, 1.0), (-0.1, 1.0, 1.0),
])  # fmt: skip
@pytest.mark.parametrize(("read", "of"), [(60, 60), (30, 90)])
def test_a_rule_by_interval_gives_away_a_fortieth_at_the_limit_however_often_it_looks(
    gain: float, low: float, high: float, read: int, of: int
) -> None:
    """Good models are refused in at most 5 of 100 draws, one at the limit passes in about 2.5.

    About: 1.4 to 3.4 in four such samples, which are as skewed as sixty passages are by chance.
    """
    looks = planned_looks(of, LOOKS, level=LOOKS_LEVEL)

    found = of_ratio("beats", columns(gain, passages=read), below=1.0, looks=looks, beside="base")

    assert low <= found.refused <= high
    assert 0.005 <= found.passed_at_limit <= 0.045
    assert (found.beside, found.drawn) == ("base", read)


def test_passages_of_one_document_are_drawn_with_it() -> None:
    """Ten posts of three passages that are alike: ten observations, and more doubt."""
    few = [[value for value in column for _ in range(3)] for column in columns(0.06, passages=10)]
    looks = planned_looks(30, LOOKS, level=LOOKS_LEVEL)

    alone = of_ratio("beats", few, below=1.0, looks=looks)
    grouped = of_ratio(
        "beats", few, below=1.0, looks=looks, documents=[at // 3 for at in range(30)]
    )

    assert (alone.drawn, grouped.drawn) == (30, 10)
    assert grouped.refused > alone.refused + 0.1


def test_a_limit_above_one_is_met_by_what_is_a_little_worse() -> None:
    looks = planned_looks(60, LOOKS, level=LOOKS_LEVEL)
    worse = columns(-0.01, spread=0.05)

    assert of_ratio("not worse", worse, below=1.05, looks=looks).refused < 0.05
    assert of_ratio("beats", worse, below=1.0, looks=looks).refused > 0.9
    with pytest.raises(ValueError, match="no passages"):
        of_ratio("beats", [[], []], below=1.0, looks=looks)


def differences(mean: float, *, count: int = 60) -> list[float]:
    """Exactly so many on average, a standard error of .02."""
    chance = random.Random(7)
    drawn = [chance.gauss(0.0, 1.0) for _ in range(count)]
    middle = sum(drawn) / count
    spread = math.sqrt(sum((one - middle) ** 2 for one in drawn) / (count - 1))
    return [mean + 0.02 * math.sqrt(count) * (one - middle) / spread for one in drawn]


@pytest.mark.parametrize(("mean", "low", "high"), [
    (0.2, 0.0, 0.0), (0.045, 0.35, 0.65), (0.0, 0.95, 1.0), (-0.1, 1.0, 1.0),
])  # fmt: skip
def test_means_with_intervals_are_met_by_what_is_far_enough_above_every_limit(
    mean: float, low: float, high: float
) -> None:
    """A mean of 2.25 standard errors is as often on either side of an interval of 97.5 %."""
    columns = [(differences(0.3), 0.0), (differences(mean), 0.0), (differences(mean), -0.02)]

    found = of_differences("voice", columns, level=0.975)

    assert low <= found.refused <= high
    assert 0.003 <= found.passed_at_limit <= 0.03, "one in eighty, of one side"
    assert (found.claim, found.drawn) == ("voice", 60)


def test_answers_about_one_post_are_one_difference_and_equal_ones_have_no_doubt() -> None:
    values = [one for one in differences(0.05, count=12) for _ in range(5)]
    alone = of_differences("voice", [(values, 0.0)], level=0.975)
    grouped = of_differences(
        "voice", [(values, 0.0)], level=0.975, documents=[at // 5 for at in range(60)]
    )

    assert (alone.drawn, grouped.drawn) == (60, 12)
    assert grouped.refused > alone.refused + 0.2
    assert of_differences("voice", [([0.1] * 30, 0.0)], level=0.975).refused == 0.0
    assert of_differences("voice", [([-0.1] * 30, 0.0)], level=0.975).refused == 1.0
    with pytest.raises(ValueError, match="no differences"):
        of_differences("voice", [([], 0.0)], level=0.975)


def test_a_share_of_none_has_a_spread_at_the_limit_all_the_same() -> None:
    none = of_share("recites", 0, 98, at_most=0.1)
    some = of_share("recites", 9, 98, at_most=0.1)

    assert none.refused == 0.0
    assert none.passed_at_limit == pytest.approx(0.51, abs=0.06)
    assert 0.3 < some.refused < 0.5
    with pytest.raises(ValueError, match="no answers"):
        of_share("recites", 0, 0, at_most=0.1)
