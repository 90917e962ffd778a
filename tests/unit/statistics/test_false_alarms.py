"""The stated error rates, on a few hundred seeded streams each.

Upper limits are the stated rate plus three standard deviations of the count; lower limits say that
the test can fire at all. The full figures: `tests/bench/bench_loop.py`.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.retraining.families import FAMILIES, one_class
from tests.bench.retraining.releases import promoted_by
from tests.bench.retraining.vectorised import bet, follow
from twin_resources.statistics.detector import threshold
from twin_resources.statistics.watch import Batches

BATCHES = Batches(first=150, second=300)


@pytest.mark.parametrize("family", FAMILIES[:5], ids=lambda family: family.name)
def test_in_control_streams_hardly_alarm(family: object) -> None:
    """α = .2 within H = 450, beside δ: of 100 streams at most 32 may alarm."""
    rng = np.random.default_rng(4)
    values, classes = family.draw(rng, 100, 600)  # type: ignore[attr-defined]
    limit = threshold(armed_streams=1, horizon=450, alpha=0.2)
    found = follow(values, classes, threshold=limit, batches=BATCHES)
    assert (found.first_alarm >= 0).sum() <= 32


def test_at_a_known_mean_the_rate_is_below_alpha_and_not_nothing() -> None:
    rng = np.random.default_rng(6)
    values = (rng.random((400, 1_000)) < 0.8).astype(float)
    known = np.full((400, 1), 0.8)
    found = bet(
        values,
        one_class(400, 1_000),
        known,
        known,
        threshold=threshold(armed_streams=1, horizon=1_000, alpha=0.2),
        batches=Batches(first=0, second=10_000),
    )
    alarmed = int((found.first_alarm >= 0).sum())
    assert 10 <= alarmed <= 104


def test_a_fleet_shares_alpha() -> None:
    """Forty streams, threshold for forty: in at most 20 % of 10 fleets does any of them alarm."""
    rng = np.random.default_rng(9)
    values = (rng.random((400, 600)) < 0.8).astype(float)
    known = np.full((400, 1), 0.8)
    found = bet(
        values,
        one_class(400, 600),
        known,
        known,
        threshold=threshold(armed_streams=40, horizon=600, alpha=0.2),
        batches=Batches(first=0, second=10_000),
    )
    fleets = (found.first_alarm >= 0).reshape(10, 40).any(axis=1)
    assert fleets.sum() <= 5


def test_promotions_at_the_margin_are_rare_and_equal_models_are_promoted() -> None:
    rng = np.random.default_rng(10)
    incumbent = (rng.random((400, 700)) < 0.8).astype(float)
    at_the_margin = (rng.random((400, 700)) < 0.7) - incumbent
    assert np.isfinite(promoted_by(at_the_margin)).sum() <= 33
    equal = (rng.random((400, 700)) < 0.8) - incumbent
    assert np.median(promoted_by(equal)) <= 260
