"""Test the threshold for quotations."""

from __future__ import annotations

import numpy as np
import pytest

from twin_resources.models.quotes.calibration import calibrate, relevance_scores, sample_indexes
from twin_resources.models.quotes.quoter import MIN_PASSAGES


def test_the_threshold_is_between_own_and_foreign_questions() -> None:
    rng = np.random.default_rng(7)
    own, foreign = rng.normal(0.5, 0.08, 300), rng.normal(0.2, 0.08, 300)
    calibration = calibrate(list(own), list(foreign), [])
    assert calibration.threshold == pytest.approx(0.35, abs=0.02)
    assert calibration.own_declined < 0.06
    assert calibration.foreign_declined > 0.94


def test_a_few_outliers_do_not_change_the_threshold() -> None:
    own, foreign = [0.5] * 100, [0.2] * 95
    assert calibrate(own, [*foreign, *[0.9] * 5], []).threshold == pytest.approx(0.35)
    assert calibrate([*own, *[0.0] * 20], foreign, []).threshold == pytest.approx(0.35)


def test_foreign_questions_decide_if_there_are_few_sentences() -> None:
    nearest = [0.7 + number / 1000 for number in range(101)]  # an embedder's cosines may be high
    calibration = calibrate([0.9] * (MIN_PASSAGES - 1), [0.1] * 101, nearest)
    assert calibration.threshold == pytest.approx(0.785)
    assert calibration.own_declined == 0.0
    assert calibration.foreign_declined == pytest.approx(0.85, abs=0.01)
    assert calibrate([], [], []).threshold == 0.0


def test_overlapping_passages_are_excluded() -> None:
    passages = np.eye(4, dtype=np.float32)
    questions = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.6, 0.8, 0.0]], np.float32)
    scores = relevance_scores(questions, passages, excluded_passages=[[0], [2]])
    assert scores == pytest.approx([0.0, 0.2])
    assert relevance_scores(
        questions, passages, excluded_passages=[[0, 1, 2, 3], []]
    ) == pytest.approx([1.4 / 3])
    assert relevance_scores(questions, passages) == pytest.approx([1 / 3, 1.4 / 3])


def test_the_sample_depends_only_on_the_names() -> None:
    names = [f"post-{number}" for number in range(50)]
    sampled_names = {names[index] for index in sample_indexes(names, 10)}
    reversed_names = list(reversed(names))
    assert {reversed_names[index] for index in sample_indexes(reversed_names, 10)} == sampled_names
    assert len(sampled_names) == 10
