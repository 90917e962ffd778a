"""The threshold keeps what it promises on questions like those that it was learned from."""

from __future__ import annotations

import numpy as np
import pytest

from twin_resources.models.quotes.calibration import (
    DECLINED_OWN,
    DEFAULT_THRESHOLD,
    FEWEST_OWN,
    best_scores,
    calibrate,
    drawn,
)


def test_at_most_five_percent_of_questions_like_the_own_ones_are_declined() -> None:
    draw = np.random.default_rng(7)
    declined = [
        (draw.beta(6, 6, 500) < calibrate(list(draw.beta(6, 6, 200)), []).threshold).mean()
        for _ in range(400)
    ]
    # Exchangeable scores: the mean is below 5 % by design; its standard error here is .0008.
    assert 0.04 < np.mean(declined) <= DECLINED_OWN + 0.003


def test_the_threshold_gains_nothing_above_the_foreign_questions() -> None:
    own = [0.8 + 0.001 * place for place in range(100)]
    foreign = [0.001 * place for place in range(100)]
    found = calibrate(own, foreign)
    assert 0.094 < found.threshold < 0.095
    assert found.own_declined == 0.0
    assert found.foreign_declined == 0.95


def test_own_questions_come_before_foreign_ones() -> None:
    found = calibrate([place / 100 for place in range(100)], [0.9] * 50)
    assert found.own_declined <= DECLINED_OWN
    assert found.foreign_declined == 0.0


def test_few_sentences_leave_the_default() -> None:
    found = calibrate([0.9] * (FEWEST_OWN - 1), [0.1] * 400)
    assert found.threshold == DEFAULT_THRESHOLD
    assert found.foreign_declined == 1.0


def test_a_sentence_does_not_find_its_own_window() -> None:
    windows = np.eye(3, dtype=np.float32)
    asked = np.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]], np.float32)
    assert best_scores(asked, windows, left_out=[[0], [2]]) == pytest.approx([0.0, 0.6])
    assert best_scores(asked, windows, left_out=[[0, 1, 2], []]) == pytest.approx([0.8])
    assert best_scores(asked, windows) == pytest.approx([1.0, 0.8])


def test_a_draw_depends_on_the_names_alone() -> None:
    names = [f"post-{number}" for number in range(50)]
    chosen = {names[place] for place in drawn(names, 10)}
    backwards = list(reversed(names))
    assert {backwards[place] for place in drawn(backwards, 10)} == chosen
    assert len(chosen) == 10
