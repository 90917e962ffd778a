"""The stated error rates, on a few seeded streams of each family.

Upper limits are the stated rate plus three standard deviations of the count; lower limits say that
the test can fire at all. The full figures: `tests/bench/bench_loop.py`.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.retraining.delays import FALLS, FallCase
from tests.bench.retraining.families import FAMILIES, Family, drawn, settled, thumbs, votes
from tests.bench.retraining.releases import promoted_by
from tests.bench.retraining.streams import followed
from twin_resources.statistics.watch import Batches

SHORT = Batches({150: 0.5, 300: 0.5})
IN_CONTROL = [family for family in FAMILIES if family.has_goal]


@pytest.mark.parametrize("family", IN_CONTROL, ids=lambda family: family.name)
def test_in_control_streams_hardly_alarm(family: Family) -> None:
    """At most 5 % within 5,000 values: of 12 streams of 2,500 at most two (P(3 or more) = .02 at
    5 %). Value by value, by one batch of 500 and with pooled classes the last six families alarmed
    in 12 to 96 %."""
    found = family.draw(np.random.default_rng(4), 12, 2_500)
    alarmed = [bool(followed(settled(found, index), only_first=True).alarms) for index in range(12)]
    assert sum(alarmed) <= 2


def test_at_the_certified_mean_the_rate_is_below_alpha_and_not_nothing() -> None:
    """α = .5 within H = 450: thumbs that fall to just what their bound is."""
    rng = np.random.default_rng(6)
    found = drawn(votes(rng, np.where(np.arange(600) < 150, 0.8, 0.70)[None, :].repeat(100, 0)))
    alarmed = [
        bool(followed(settled(found, index), batches=SHORT, limit=450 / 0.5).alarms)
        for index in range(100)
    ]
    assert 3 <= sum(alarmed) <= 65


def test_a_fleet_shares_alpha_and_delta() -> None:
    """Forty streams: in at most α + δ = 10 % of fleets does any of them alarm; of 5 fleets none."""
    found = thumbs(np.random.default_rng(9), 200, 900)
    alarms = [bool(followed(settled(found, one), fleet=40).alarms) for one in range(200)]
    assert sum(alarms) == 0


@pytest.mark.parametrize(
    "case", [one for one in FALLS if one.fall >= 0.2 and one.after > 150], ids=lambda one: one.name
)
def test_a_fall_is_found(case: FallCase) -> None:
    """The median of 9 streams is within 1.5 times the goal of the benchmark."""
    found = case.draw(np.random.default_rng(5), 9)
    taken: list[float] = []
    for index in range(9):
        alarms = followed(settled(found, index), only_first=True).alarms
        taken.append(alarms[0].alarm.sequence - case.after if alarms else np.inf)
    assert np.median(taken) <= 1.5 * (case.goal or np.inf)


def test_promotions_at_the_margin_are_rare_and_equal_models_are_promoted() -> None:
    rng = np.random.default_rng(10)
    incumbent = (rng.random((400, 700)) < 0.8).astype(float)
    at_the_margin = (rng.random((400, 700)) < 0.7) - incumbent
    assert np.isfinite(promoted_by(at_the_margin)).sum() <= 33
    equal = (rng.random((400, 700)) < 0.8) - incumbent
    assert np.median(promoted_by(equal)) <= 260
