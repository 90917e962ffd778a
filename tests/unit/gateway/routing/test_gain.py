"""Test the regression of gains and its cross-fitted predictions."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.gateway.routing.labeled_questions import features, sample_questions
from twin_resources.router.features import feature_rows, fit_scale
from twin_resources.router.gain import assign_folds, fit


def test_held_out_predictions_equal_those_of_a_fit_to_the_other_folds() -> None:
    questions = sample_questions(60, seed=1)
    rows, folds = features(questions), np.arange(60) % 4
    whole_fit = fit(rows, questions.gains, folds)
    for fold in range(4):
        is_other = folds != fold
        partial_fit = fit(rows[is_other], questions.gains[is_other], folds[is_other])
        assert whole_fit.cross_fitted[~is_other] == pytest.approx(
            partial_fit.model.predict(rows[~is_other]), abs=2e-5
        )


def test_predict_one_equals_predict() -> None:
    questions = sample_questions(80, seed=2)
    rows = features(questions)
    model = fit(rows, questions.gains, np.arange(80) % 20).model
    predictions = model.predict(rows)
    for number in (0, 17, 79):
        assert model.predict_one(rows[number]) == pytest.approx(predictions[number], abs=1e-4)


def test_the_fit_separates_questions_by_gain() -> None:
    questions = sample_questions(300, seed=3)
    fitted = fit(features(questions), questions.gains, np.arange(300) % 20)
    is_hard = questions.true_gains > 0
    assert fitted.cross_fitted[is_hard].mean() > 0.5
    assert fitted.cross_fitted[~is_hard].mean() < 0.1


def test_labels_of_one_reader_are_in_one_fold() -> None:
    folds = assign_folds(["a", "b", "a", "c", "b"])
    assert folds[0] == folds[2]
    assert folds[1] == folds[4]


def test_a_long_question_is_clipped() -> None:
    scale = fit_scale([20, 40, 60], [0.2, 0.4, 0.6])
    long_question = feature_rows(np.eye(3)[:1], [1_000_000], [0.4], scale=scale)
    assert abs(long_question[0, -2]) <= 0.9 + 1e-9
    constant_scale = fit_scale([5, 5], [0.0, 0.0])
    assert (constant_scale.length_spread, constant_scale.closeness_spread) == (1.0, 1.0)
