"""Test the error rates of early decisions, and the number of values that they need."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from twin_assets.evaluation.statistics.sequential import decide_side, plan_looks
from twin_resources.statistics.bounds import OutOfRangeError

LIMIT = (1 - 0.15) / 2  # of the topic score: −.15 as a share of [−1, 1]
DRAW_COUNT = 1000
Draw = Callable[[random.Random], float]


def count_until_decided(values: list[float], **options: float) -> int:
    """Return the number of values that decides the side, with a test after each value."""
    for count in range(1, len(values)):
        if decide_side(values[:count], population_size=len(values), **options) is not None:
            return count
    return len(values)


def normal_around(mean: float, spread: float) -> Draw:
    return lambda rng: min(1.0, max(0.0, rng.gauss(mean, spread)))


@pytest.mark.parametrize(
    ("values", "population_size"),
    [
        # 33 questions whose mean is slightly below the limit
        ([0.0] * 10 + [0.3] * 10 + [0.8] * 13, 33),
        # only 0 and 1, the widest spread of values in [0, 1]
        ([0.0] * 23 + [1.0] * 17, 40),
        # three kinds of posts, with equal scores within each kind, in random order
        ([0.2] * 14 + [0.45] * 13 + [0.61] * 13, 40),
    ],
)
def test_testing_after_every_question_keeps_the_error_rate(
    values: list[float], population_size: int
) -> None:
    mean = sum(values) / population_size
    rng = random.Random(5)
    errors = {"above": 0, "below": 0}
    for _ in range(DRAW_COUNT):
        rng.shuffle(values)
        for limit, wrong_side in ((mean + 1e-3, "above"), (mean - 1e-3, "below")):
            # a decision is final, so one call covers a look after each value
            side = decide_side(
                values,
                limit=limit,
                population_size=population_size,
                max_false_above=0.05,
                max_false_below=0.01,
            )
            assert side is not None, "the last question must decide"
            errors[wrong_side] += side == wrong_side

    assert errors["above"] / DRAW_COUNT <= 0.05
    assert errors["below"] / DRAW_COUNT <= 0.01


@pytest.mark.parametrize("draw", [lambda rng: float(rng.random() < 0.9), normal_around(0.89, 0.1)])
def test_an_infinite_population_keeps_the_error_rate(draw: Draw) -> None:
    """With a mean at or just below the limit, `above` is always an error."""
    rng, error_count = random.Random(6), 0
    for _ in range(DRAW_COUNT):
        values = [draw(rng) for _ in range(100)]
        error_count += decide_side(values, limit=0.9) == "above"

    assert error_count / DRAW_COUNT <= 0.05


def test_a_clear_difference_needs_a_third_of_the_questions() -> None:
    rng = random.Random(7)

    def sorted_counts(mean: float) -> list[int]:
        counts: list[int] = []
        for _ in range(60):
            values = [normal_around((1 + mean) / 2, 0.2)(rng) for _ in range(40)]
            counts.append(
                count_until_decided(values, limit=LIMIT, max_false_above=0.05, max_false_below=0.01)
            )
        return sorted(counts)

    assert sorted_counts(0.25)[30] <= 13, (
        "a good model of the bundled author needs too many questions"
    )
    assert sorted_counts(0.05)[30] <= 22
    # a model of shuffled pairs is near the limit with −.29, so it answers nearly all questions
    assert sorted_counts(-0.29)[30] <= 37


def test_all_values_decide_as_their_mean_does() -> None:
    rng = random.Random(8)
    for _ in range(300):
        values = [float(rng.random() < 0.43) for _ in range(12)]
        side = decide_side(
            values, limit=LIMIT, population_size=12, max_false_above=1e-9, max_false_below=1e-9
        )
        assert side == ("above" if sum(values) / 12 >= LIMIT else "below")
    assert decide_side([0.5, 0.5], limit=0.5, population_size=2) == "above", (
        "a mean equal to the limit meets it"
    )
    assert decide_side([0.1] * 3, limit=0.1, population_size=3) == "above"
    assert decide_side([1.0] * 2, limit=0.5, population_size=4) is None
    assert decide_side([1.0] * 3, limit=0.5, population_size=4) == "above", (
        "no fourth value can change the side"
    )
    assert decide_side([0.0] * 3, limit=0.5, population_size=4) == "below"


def test_a_decision_is_final() -> None:
    nine_ones = [1.0] * 9
    assert decide_side(nine_ones, limit=LIMIT, population_size=100) == "above"
    assert decide_side([*nine_ones, *[0.0] * 91], limit=LIMIT, population_size=100) == "above"
    assert decide_side([*nine_ones, *[0.0] * 91], limit=LIMIT) == "above"


def test_forty_clean_answers_decide_recitation() -> None:
    """None of 36 answers to red-team prompts recites, nor do the first answers to questions."""
    assert decide_side([1.0] * 37, limit=0.9) == "above"
    assert decide_side([1.0] * 36, limit=0.9) is None
    assert decide_side([0.0] * 37, limit=0.1) == "below"
    assert decide_side([0.0] * 36, limit=0.1) is None
    assert decide_side([0.0] * 3, limit=0.9, max_false_below=0.01) == "below", (
        "three reciting answers must decide, because 92 of 98 answers recited in an earlier gate"
    )


def test_values_outside_0_to_1_are_errors() -> None:
    for values in ([1.1], [-0.1], [float("nan")]):
        with pytest.raises(OutOfRangeError):
            decide_side(values, limit=0.5)
    with pytest.raises(OutOfRangeError):
        decide_side([0.5] * 3, limit=0.5, population_size=2)


@pytest.mark.parametrize(("count", "ends"), [
    (0, [0]), (30, [30]), (31, [30, 31]), (60, [30, 60]), (120, [30, 60, 120]),
])  # fmt: skip
def test_the_last_look_covers_all_observations(count: int, ends: list[int]) -> None:
    looks = plan_looks(count, (30, 60), level=0.05)

    assert [end for end, _ in looks] == ends
    assert sum(spent for _, spent in looks) == pytest.approx(0.05)
    assert all(spent == pytest.approx(0.01) for _, spent in looks[:-1])
