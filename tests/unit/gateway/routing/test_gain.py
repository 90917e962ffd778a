"""The regression: its cross-fitted predictions are those of a fit without the fold."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.gateway.routing.labelled import drawn, features
from twin_resources.errors import TwinError
from twin_resources.router.features import feature_rows, fit_scale
from twin_resources.router.gain import assign_folds, fit


def test_a_left_out_fold_is_predicted_as_by_a_fit_of_the_others() -> None:
    found = drawn(60, seed=1)
    made, folds = features(found), np.arange(60) % 4
    whole = fit(made, found.gains, folds, ridges=[3.0])
    for fold in range(4):
        others = folds != fold
        alone = fit(made[others], found.gains[others], folds[others], ridges=[3.0])
        assert whole.cross_fitted[~others] == pytest.approx(
            alone.model.predict(made[~others]), abs=2e-5
        )


def test_one_question_and_many_are_predicted_alike() -> None:
    found = drawn(80, seed=2)
    made = features(found)
    model = fit(made, found.gains, np.arange(80) % 20).model
    many = model.predict(made)
    for number in (0, 17, 79):
        assert model.predict_one(made[number]) == pytest.approx(many[number], abs=1e-4)


def test_it_finds_which_questions_gain() -> None:
    found = drawn(300, seed=3)
    made, true = fit(features(found), found.gains, np.arange(300) % 20), found.true
    assert made.cross_fitted[true > 0].mean() > 0.5
    assert made.cross_fitted[true == 0].mean() < 0.1


def test_labels_of_one_reader_are_in_one_fold() -> None:
    folds = assign_folds(["a", "b", "a", "c", "b"])
    assert folds[0] == folds[2]
    assert folds[1] == folds[4]


def test_several_models_are_fitted_at_once() -> None:
    found = drawn(100, seed=4)
    both = np.concatenate([found.gains, -found.gains], axis=1)
    made = fit(features(found), both, np.arange(100) % 10, ridges=[3.0])
    alone = fit(features(found), found.gains, np.arange(100) % 10, ridges=[3.0])
    assert made.cross_fitted[:, 0] == pytest.approx(alone.cross_fitted[:, 0], abs=1e-9)
    assert made.cross_fitted[:, 1] == pytest.approx(-alone.cross_fitted[:, 0], abs=1e-9)


@pytest.mark.parametrize("wrong", ["nan", "fewer", "none"])
def test_labels_that_do_not_belong_together_are_refused(wrong: str) -> None:
    found = drawn(10, seed=5)
    made, gains, folds = features(found), found.gains.copy(), np.arange(10) % 2
    if wrong == "nan":
        gains[3] = np.nan
    elif wrong == "fewer":
        gains = gains[:5]
    else:
        made, gains, folds = made[:0], gains[:0], folds[:0]
    with pytest.raises(TwinError, match="fit a router"):
        fit(made, gains, folds)


def test_a_long_question_is_no_outlier() -> None:
    scale = fit_scale([20, 40, 60], [0.2, 0.4, 0.6])
    far = feature_rows(np.eye(3)[:1], [1_000_000], [0.4], scale=scale)
    assert abs(far[0, -2]) <= 0.9 + 1e-9
    same = fit_scale([5, 5], [0.0, 0.0])
    assert (same.length_spread, same.closeness_spread) == (1.0, 1.0)
