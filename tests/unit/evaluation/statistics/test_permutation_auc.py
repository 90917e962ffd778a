"""Test the share of questions that are further from an answer than its own question."""

from __future__ import annotations

import random
from itertools import permutations
from statistics import fmean

import pytest

from twin_assets.evaluation.statistics.permutation_auc import permutation_shares


def test_the_share_is_1_if_the_own_question_is_nearest() -> None:
    similarity = [[0.9, 0.1, 0.2], [0.3, 0.2, 0.1], [0.5, 0.5, 0.5]]

    assert permutation_shares(similarity, [0, 1, 2], groups="abc") == [1.0, 0.5, 0.5]


def test_questions_of_the_same_post_are_not_compared() -> None:
    similarity = [[0.5, 0.9, 0.1], [0.9, 0.5, 0.7]]

    assert permutation_shares(similarity, [0, 1], groups="aab") == [1.0, 0.0]
    with pytest.raises(ValueError, match="no question from a group other than"):
        permutation_shares(similarity, [0, 1], groups="aaa")


def test_the_mean_over_all_pairings_is_one_half() -> None:
    """One answer is similar to every question, and one question is similar to every answer."""
    rng = random.Random(3)
    similarity = [
        [rng.gauss(row, 1.0) + 2.0 * (column == 1) for column in range(5)] for row in range(5)
    ]

    means = [
        fmean(permutation_shares([similarity[row] for row in order], range(5), groups="abcde"))
        for order in permutations(range(5))
    ]

    assert fmean(means) == pytest.approx(0.5)
