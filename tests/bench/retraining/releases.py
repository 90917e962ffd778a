"""Measure which candidates are promoted and which are rolled back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.loop_size import LoopBenchmarkSize
from tests.bench.rows import Row, bounded_row
from twin_resources.statistics.bets import FRACTIONS, STAKE_SHARE
from twin_resources.statistics.promotion import (
    ALPHA,
    NON_INFERIORITY_MARGIN,
    PairedDifference,
    PairEvidence,
    add_pair,
    final_verdict,
    start_test,
)

Differences = NDArray[np.float64]


def draw_thumbs(rng: np.random.Generator, quality: float, shape: tuple[int, ...]) -> Differences:
    return (rng.random(shape) < quality).astype(float)


def run_trial(differences: Differences) -> PairEvidence:
    """Run the production test on pairs until its verdict or the last pair."""
    evidence = start_test(claims=("topic",))
    for number, difference in enumerate(differences.tolist(), start=1):
        evidence = add_pair(evidence, PairedDifference(number, {"topic": difference}))
        if evidence.verdict != "undecided":
            break
    return evidence


def promotion_rows(size: LoopBenchmarkSize) -> list[Row]:
    """Return rows for trials on independent thumbs, whose differences vary most."""
    rng = np.random.default_rng(7)
    trial_count = size.choose_home_count(2_000, quick=100)
    shape = (trial_count, 1_500)
    incumbent = draw_thumbs(rng, 0.8, shape)
    worse_verdicts = [
        final_verdict(run_trial(differences))
        for differences in draw_thumbs(rng, 0.8 - NON_INFERIORITY_MARGIN, shape) - incumbent
    ]
    # The same trials without the rollback test, which usually ends them first.
    promoted_at = find_promotion_pair(
        draw_thumbs(rng, 0.8 - NON_INFERIORITY_MARGIN, shape) - incumbent
    )
    equal_trials = [run_trial(pairs) for pairs in draw_thumbs(rng, 0.8, shape) - incumbent]
    rolled_back = 100.0 * np.mean([trial.verdict == "roll_back" for trial in equal_trials])
    suffix = f"({trial_count:,} trials)"
    return [
        bounded_row(
            f"wrong promotions at the margin {suffix}",
            100.0 * float(np.mean([verdict == "promote" for verdict in worse_verdicts])),
            "%",
            at_most=5.0,
            peers={"without the rollback test": 100.0 * float(np.isfinite(promoted_at).mean())},
        ),
        bounded_row(f"equal models rolled back {suffix}", float(rolled_back), "%", at_most=5.0),
    ]


def candidate_rows(size: LoopBenchmarkSize) -> list[Row]:
    """Return rows for candidates as retrainings produce them, each judged on 300 prompts.

    Their quality is N(−.02, .05) relative to the stable version, and the judge's differences have a
    standard deviation of .2. The peer is the promotion test (U) without the rollback test, which
    formerly decided promotion.
    """
    trial_count = size.choose_home_count(2_000, quick=200)
    rng = np.random.default_rng(19)
    quality = rng.normal(-0.02, 0.05, trial_count)
    pairs = np.clip(quality[:, None] + rng.normal(0.0, 0.2, (trial_count, 300)), -1.0, 1.0)
    promoted = np.array([final_verdict(run_trial(trial)) == "promote" for trial in pairs])
    promoted_by_u = np.isfinite(find_promotion_pair(pairs))
    suffix = f"({trial_count:,} candidates)"
    return [
        bounded_row(
            f"worse than the stable version and promoted {suffix}",
            100.0 * float(np.mean(promoted & (quality < 0.0))),
            "%",
            at_most=5.0,
            peers={"U alone": 100.0 * float(np.mean(promoted_by_u & (quality < 0.0)))},
        )
    ]


def find_promotion_pair(
    differences: Differences, *, margin: float = NON_INFERIORITY_MARGIN
) -> NDArray[np.float64]:
    """Return the number of the pair at which U alone promotes, for each trial; inf if never."""
    null = (1.0 - margin) / 2.0
    z = (1.0 + differences) / 2.0
    wealth = np.zeros(z.shape)
    for fraction in FRACTIONS:
        factors = 1.0 + (STAKE_SHARE * fraction / null) * (z - null)
        wealth += np.exp(np.cumsum(np.log(factors), axis=1)) / len(FRACTIONS)
    promoted = wealth >= 1.0 / ALPHA
    return np.where(promoted.any(axis=1), promoted.argmax(axis=1) + 1.0, np.inf)
