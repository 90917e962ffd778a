"""Rows: what is promoted, rolled back, stopped by the anchor, and who may judge."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tests.bench.retraining.rows import Form, Row, row
from twin_resources.statistics.baseline import MARGIN
from twin_resources.statistics.bets import FRACTIONS, STAKE
from twin_resources.statistics.judges import certify
from twin_resources.statistics.promotion import (
    ALPHA,
    PairedDifference,
    PairEvidence,
    at_the_end,
    begin,
    fold,
)

Differences = NDArray[np.float64]
MOST_PAIRS = 3_000
RELEASES = 10
WORSE_BY = 0.08
HELD_OUT = 100  # prompts with plants
KINDS = ("off_topic", "shuffled")


def thumbs(rng: np.random.Generator, quality: float, shape: tuple[int, ...]) -> Differences:
    return (rng.random(shape) < quality).astype(float)


def run(differences: Differences, anchor: Differences | None = None) -> PairEvidence:
    """The production test over pairs, until its verdict or the last one."""
    evidence = begin(claims=("topic",), anchored=anchor is not None)
    against = [{}] * len(differences) if anchor is None else [{"topic": d} for d in anchor.tolist()]
    pairs = zip(differences.tolist(), against, strict=True)
    for number, (difference, other) in enumerate(pairs, start=1):
        evidence = fold(evidence, PairedDifference(number, {"topic": difference}, other))
        if evidence.verdict != "undecided":
            break
    return evidence


def promotions(form: Form) -> list[Row]:
    """Independent thumbs on both sides: the largest spread that a difference can have at .80."""
    rng = np.random.default_rng(7)
    trials = form.streams(2_000, quick=100)
    shape = (trials, 1_500)
    incumbent = thumbs(rng, 0.8, shape)
    wrong = [at_the_end(run(found)) for found in thumbs(rng, 0.8 - MARGIN, shape) - incumbent]
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
    won = np.array([at_the_end(run(found)) == "promote" for found in pairs])
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


def promoted_by(
    differences: Differences, *, margin: float = MARGIN, alpha: float = ALPHA
) -> NDArray[np.float64]:
    """The pair that first wins U alone, for many trials at once; infinite: none."""
    null = (1.0 - margin) / 2.0
    z = (1.0 + differences) / 2.0
    wealth = np.zeros(z.shape)
    for fraction in FRACTIONS:
        factors = 1.0 + (STAKE * fraction / null) * (z - null)
        wealth += np.exp(np.cumsum(np.log(factors), axis=1)) / len(FRACTIONS)
    won = wealth >= 1.0 / alpha
    return np.where(won.any(axis=1), won.argmax(axis=1) + 1.0, np.inf)


def anchor(form: Form) -> list[Row]:
    """Ten candidates, each .08 worse than the version that is stable then; thumbs of .98 at first.

    Peers: the same without the anchor, and also without the roll-back test, on as many pairs.
    """
    chains = form.streams(200, quick=15)
    rng = np.random.default_rng(11)
    lost = {name: np.zeros(chains) for name in ("anchor", "no anchor", "no anchor, no roll-back")}
    for chain in range(chains):
        for name, losses in lost.items():
            for _ in range(RELEASES):
                best, stable = 0.98, 0.98 - losses[chain]
                candidate = thumbs(rng, max(0.0, stable - WORSE_BY), (MOST_PAIRS,))
                other = candidate - thumbs(rng, stable, (MOST_PAIRS,))
                if name == "anchor":
                    held = candidate - thumbs(rng, best, (MOST_PAIRS,)) if losses[chain] else None
                    promoted = at_the_end(run(other, held)) == "promote"
                elif name == "no anchor":
                    promoted = at_the_end(run(other)) == "promote"
                else:
                    promoted = bool(np.isfinite(promoted_by(other[None, :]))[0])
                losses[chain] += WORSE_BY * promoted
    # A tenth of a rounding error beyond the margin is not beyond it.
    beyond = {name: 100.0 * float((losses > MARGIN + 1e-9).mean()) for name, losses in lost.items()}
    means = {name: float(losses.mean()) for name, losses in lost.items()}
    return [
        row(
            f"ten releases each worse by .08: chains that lost more than .1 ({chains} chains)",
            beyond.pop("anchor"),
            "%",
            at_most=5.0,
            peers=beyond,
        ),
        row(
            f"the same: mean quality lost after ten ({chains} chains)",
            means.pop("anchor"),
            "of 1",
            at_most=MARGIN,
            peers=means,
        ),
    ]


def judges(form: Form) -> list[Row]:
    """Promotions of a broken candidate (.20) over a good one (.80) by judges of three kinds.

    Peers: the same judge without the need of a certificate.
    """
    trials = form.streams(500, quick=25)
    rng = np.random.default_rng(13)
    rows: list[Row] = []
    for judge in ("constant", "random", "inverted", "sound"):
        certified, promoted, unchecked = 0, 0, 0
        for _ in range(trials):
            own = _score(rng, judge, 0.8, HELD_OUT)
            plants = {kind: (own - _score(rng, judge, 0.2, HELD_OUT)).tolist() for kind in KINDS}
            certificate = certify(judge, "topic", plants)
            pairs = _score(rng, judge, 0.2, 600) - _score(rng, judge, 0.8, 600)
            wins = at_the_end(run(pairs)) == "promote"
            certified += certificate.certified
            unchecked += wins
            promoted += wins and certificate.certified
        if judge == "sound":
            share = 100.0 * certified / trials
            rows.append(Row(f"sound judges certified ({trials} trials)", share, "%"))
        rows.append(
            row(
                f"broken models promoted by a {judge} judge ({trials} trials)",
                promoted,
                "promotions",
                at_most=0,
                peers={"without a certificate": float(unchecked)},
            )
        )
    return rows


def _score(rng: np.random.Generator, judge: str, quality: float, count: int) -> Differences:
    """What a judge of this kind gives answers of this quality (Beta with 10 pseudo-counts)."""
    if judge == "constant":
        return np.full(count, 0.7)
    if judge == "random":
        return rng.random(count)
    sound = rng.beta(10.0 * quality, 10.0 * (1.0 - quality), count)
    return 1.0 - sound if judge == "inverted" else sound
