"""Rows: which candidates are promoted and rolled back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.rows import Form
from tests.bench.rows import Row, bounded_row
from twin_resources.statistics.arming import MARGIN
from twin_resources.statistics.bets import FRACTIONS, STAKE_SHARE
from twin_resources.statistics.promotion import (
    ALPHA,
    PairedDifference,
    PairEvidence,
    add_pair,
    final_verdict,
    start_test,
)

Differences = NDArray[np.float64]


def thumbs(rng: np.random.Generator, quality: float, shape: tuple[int, ...]) -> Differences:
    return (rng.random(shape) < quality).astype(float)


def run_trial(differences: Differences) -> PairEvidence:
    """Run the production test over pairs, until its verdict or the last pair."""
    evidence = start_test(claims=("topic",))
    for number, difference in enumerate(differences.tolist(), start=1):
        evidence = add_pair(evidence, PairedDifference(number, {"topic": difference}))
        if evidence.verdict != "undecided":
            break
    return evidence


def promotions(form: Form) -> list[Row]:
    """Return rows of trials on independent thumbs, which spread the differences most at .80."""
    rng = np.random.default_rng(7)
    trials = form.count_homes(2_000, quick=100)
    shape = (trials, 1_500)
    incumbent = thumbs(rng, 0.8, shape)
    wrong = [
        final_verdict(run_trial(differences))
        for differences in thumbs(rng, 0.8 - MARGIN, shape) - incumbent
    ]
    # The same trials without the roll-back test, which usually ends them first.
    alone = find_promotion_pair(thumbs(rng, 0.8 - MARGIN, shape) - incumbent)
    equal = [run_trial(differences) for differences in thumbs(rng, 0.8, shape) - incumbent]
    harmless = 100.0 * np.mean([trial.verdict == "roll_back" for trial in equal])
    suffix = f"({trials:,} trials)"
    return [
        bounded_row(
            f"wrong promotions at the margin {suffix}",
            100.0 * float(np.mean([verdict == "promote" for verdict in wrong])),
            "%",
            at_most=5.0,
            peers={"without the roll-back test": 100.0 * float(np.isfinite(alone).mean())},
        ),
        bounded_row(f"equal models rolled back {suffix}", float(harmless), "%", at_most=5.0),
    ]


def candidates(form: Form) -> list[Row]:
    """Return rows of candidates as retrainings produce them, each judged on 300 prompts.

    Their quality is N(−.02, .05) relative to the stable version, and the judge's differences have a
    standard deviation of .2. The peer is the first crossing of U alone, which decided promotion
    before.
    """
    trials = form.count_homes(2_000, quick=200)
    rng = np.random.default_rng(19)
    quality = rng.normal(-0.02, 0.05, trials)
    pairs = np.clip(quality[:, None] + rng.normal(0.0, 0.2, (trials, 300)), -1.0, 1.0)
    won = np.array([final_verdict(run_trial(differences)) == "promote" for differences in pairs])
    alone = np.isfinite(find_promotion_pair(pairs))
    suffix = f"({trials:,} candidates)"
    return [
        bounded_row(
            f"worse than the stable version and promoted {suffix}",
            100.0 * float(np.mean(won & (quality < 0.0))),
            "%",
            at_most=5.0,
            peers={"U alone": 100.0 * float(np.mean(alone & (quality < 0.0)))},
        )
    ]


def find_promotion_pair(differences: Differences, *, margin: float = MARGIN) -> NDArray[np.float64]:
    """Return the pair at which U alone first wins, for each trial; inf if it never does."""
    null = (1.0 - margin) / 2.0
    z = (1.0 + differences) / 2.0
    wealth = np.zeros(z.shape)
    for fraction in FRACTIONS:
        factors = 1.0 + (STAKE_SHARE * fraction / null) * (z - null)
        wealth += np.exp(np.cumsum(np.log(factors), axis=1)) / len(FRACTIONS)
    won = wealth >= 1.0 / ALPHA
    return np.where(won.any(axis=1), won.argmax(axis=1) + 1.0, np.inf)
