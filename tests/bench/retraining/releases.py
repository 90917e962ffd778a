"""Rows: what is promoted and rolled back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.rows import Form, Row, row
from twin_resources.statistics.baseline import MARGIN
from twin_resources.statistics.bets import FRACTIONS, STAKE_SHARE
from twin_resources.statistics.promotion import (
    ALPHA,
    PairedDifference,
    PairEvidence,
    begin,
    final_verdict,
    fold,
)

Differences = NDArray[np.float64]


def thumbs(rng: np.random.Generator, quality: float, shape: tuple[int, ...]) -> Differences:
    return (rng.random(shape) < quality).astype(float)


def run(differences: Differences) -> PairEvidence:
    """The production test over pairs, until its verdict or the last one."""
    evidence = begin(claims=("topic",))
    for number, difference in enumerate(differences.tolist(), start=1):
        evidence = fold(evidence, PairedDifference(number, {"topic": difference}))
        if evidence.verdict != "undecided":
            break
    return evidence


def promotions(form: Form) -> list[Row]:
    """Independent thumbs on both sides: the largest spread that a difference can have at .80."""
    rng = np.random.default_rng(7)
    trials = form.streams(2_000, quick=100)
    shape = (trials, 1_500)
    incumbent = thumbs(rng, 0.8, shape)
    wrong = [final_verdict(run(found)) for found in thumbs(rng, 0.8 - MARGIN, shape) - incumbent]
    # The same without the other test beside it, which mostly ends the trial first.
    alone = promoted_by(thumbs(rng, 0.8 - MARGIN, shape) - incumbent)
    of_equal = thumbs(rng, 0.8, shape) - incumbent
    equal, needed = [run(found) for found in of_equal], promoted_by(of_equal)
    worse = [run(found) for found in thumbs(rng, 0.6, shape) - incumbent]
    scores = [found.pairs if found.verdict == "roll_back" else math.inf for found in worse]
    harmless = 100.0 * np.mean([found.verdict == "roll_back" for found in equal])
    of = f"({trials:,} trials)"
    return [
        row(
            f"wrong promotions at the margin {of}",
            100.0 * float(np.mean([verdict == "promote" for verdict in wrong])),
            "%",
            at_most=5.0,
            peers={"without the roll-back test": 100.0 * float(np.isfinite(alone).mean())},
        ),
        row(f"equal models rolled back {of}", float(harmless), "%", at_most=5.0),
        row(
            f"pairs that show an equal model not worse by .1 {of}",
            float(np.median(needed)),
            "pairs",
            at_most=260,
        ),
        row(
            f"scores to roll back .60 against .80 {of}",
            float(np.median(scores)),
            "scores",
            at_most=100,
        ),
    ]


def candidates(form: Form) -> list[Row]:
    """Candidates as retrainings give them, N(−.02, .05) beside the stable version, judged by one
    whose differences scatter by .2, on 300 prompts each.

    Peers: the first crossing of U alone, by which promotion was decided before.
    """
    trials = form.streams(2_000, quick=200)
    rng = np.random.default_rng(19)
    quality = rng.normal(-0.02, 0.05, trials)
    pairs = np.clip(quality[:, None] + rng.normal(0.0, 0.2, (trials, 300)), -1.0, 1.0)
    won = np.array([final_verdict(run(found)) == "promote" for found in pairs])
    alone = np.isfinite(promoted_by(pairs))
    oracle = float(quality[quality > 0.0].sum())
    of = f"({trials:,} candidates)"
    return [
        row(
            f"worse than the stable version and promoted {of}",
            100.0 * float(np.mean(won & (quality < 0.0))),
            "%",
            at_most=5.0,
            peers={"U alone": 100.0 * float(np.mean(alone & (quality < 0.0)))},
        ),
        row(
            f"quality lost, of what an oracle gains {of}",
            1.0 - float(quality[won].sum()) / oracle,
            "of 1",
            at_most=0.05,
            peers={"U alone": 1.0 - float(quality[alone].sum()) / oracle},
        ),
    ]


def promoted_by(differences: Differences, *, margin: float = MARGIN) -> NDArray[np.float64]:
    """The pair that first wins U alone, for many trials at once; infinite: none."""
    null = (1.0 - margin) / 2.0
    z = (1.0 + differences) / 2.0
    wealth = np.zeros(z.shape)
    for fraction in FRACTIONS:
        factors = 1.0 + (STAKE_SHARE * fraction / null) * (z - null)
        wealth += np.exp(np.cumsum(np.log(factors), axis=1)) / len(FRACTIONS)
    won = wealth >= 1.0 / ALPHA
    return np.where(won.any(axis=1), won.argmax(axis=1) + 1.0, np.inf)
