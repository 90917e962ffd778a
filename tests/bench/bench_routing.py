"""Compare the router with simpler ones, and measure its certified margin.

    python tests/bench/bench_routing.py --quick|--full [--only PART] [--json FILE]

Data: 14,042 MMLU questions answered by a weak and a strong model (RouteLLM's responses; the README
beside the data names source and license). The project's embedder computes the questions' vectors,
which are kept in /tmp. Gain = strong − weak: −1, 0 or 1. Labels are drawn at random, and the router
does not see the subjects. Peers use the same labels in the same run: random order, the mean gain of
a question's class (`prompt_classes`), its length, the mean gain of its 20 nearest labels.

APGR is the share of the gap between weak and strong model that routing recovers, averaged over all
shares of strong calls (Ong et al., RouteLLM, https://arxiv.org/abs/2406.18665). `--quick` has fewer
splits and labels.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import polars as pl

from tests.bench.questions.questions import SHARED_DATA
from tests.bench.rows import Row, bounded_row, create_parser, run_parts
from twin_resources.gateway.request.prompt_classes import classify_question
from twin_resources.router.features import Floats, feature_rows, fit_scale
from twin_resources.router.fixed_sequence import STEP_SHARE, compute_price_steps, find_cheapest_step
from twin_resources.router.gain import FittedGain, assign_folds, fit

DATA = SHARED_DATA / "routing"
CACHE = Path("/tmp/llm-twin-bench-routing")
MARGIN = 0.03
PRICES = (0.24 / 1e6 * 300, 24.7 / 1e6 * 300)  # RouteLLM's, in $ per answer of 300 tokens
NEIGHBOR_COUNT = 20


@dataclass(frozen=True)
class Questions:
    """Questions with the strong model's gains; all arrays have one entry per question."""

    vectors: Floats
    lengths: np.ndarray
    gains: Floats
    classes: np.ndarray

    def select(self, indexes: np.ndarray) -> Questions:
        return Questions(*(getattr(self, field.name)[indexes] for field in fields(self)))


def read_mmlu() -> Questions:
    """Return the MMLU questions."""
    frame = pl.read_parquet(DATA / "routellm_mmlu_gsm8k.parquet")
    prompts = frame["prompt"].to_list()
    gains = frame["strong_ok"].cast(pl.Float64) - frame["weak_ok"].cast(pl.Float64)
    questions = Questions(
        embed_prompts(prompts).astype(np.float64),
        np.asarray([len(prompt) for prompt in prompts]),
        gains.to_numpy(),
        np.asarray([classify_question(prompt) for prompt in prompts]),
    )
    return questions.select(np.flatnonzero((frame["bench"] == "mmlu").to_numpy()))


def embed_prompts(prompts: list[str]) -> np.ndarray:
    """Return the questions' vectors, which are computed once and cached."""
    path = CACHE / f"{len(prompts)}.npy"
    if not path.exists():
        from tests.bench.knowledge.corpus import load_embedder_home
        from twin_resources.models.embedder.embedder import load_embedder

        embedder = load_embedder(load_embedder_home())
        parts = [embedder.embed(prompts[n : n + 512]) for n in range(0, len(prompts), 512)]
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.concatenate(parts))
    return np.load(path)


@dataclass(frozen=True)
class Split:
    """Labeled questions, questions to be routed, and the router fitted on the labels."""

    labeled: Questions
    routed: Questions
    fitted: FittedGain
    predicted: Floats


def split_and_fit(questions: Questions, label_count: int, seed: int) -> Split:
    """Draw random labels, fit the router on them, and predict the other questions."""
    order = np.random.default_rng(seed).permutation(len(questions.gains))
    labeled, routed = questions.select(order[:label_count]), questions.select(order[label_count:])
    scale = fit_scale(labeled.lengths.tolist(), [0.0] * label_count)

    def features(part: Questions) -> Floats:
        lengths = part.lengths.tolist()
        return feature_rows(part.vectors, lengths, [0.0] * len(lengths), scale=scale)

    folds = assign_folds([str(index) for index in order[:label_count]])
    fitted = fit(features(labeled), labeled.gains[:, None], folds)
    return Split(labeled, routed, fitted, fitted.model.predict(features(routed))[:, 0])


def compute_apgr(scores: Floats, gains: Floats) -> float:
    """Return the mean recovered share of the gap over 41 shares of strong calls (trapezoids)."""
    recovered = _recovered_shares(scores, gains)
    shares = np.linspace(0.0, 1.0, 41)
    return float(np.trapezoid(recovered[np.rint(shares * len(gains)).astype(int)], shares))


def _recovered_shares(scores: Floats, gains: Floats) -> Floats:
    order = np.argsort(-scores, kind="stable")
    return np.concatenate([[0.0], np.cumsum(gains[order])]) / gains.sum()


def score_with_peers(split: Split, seed: int) -> dict[str, Floats]:
    """Return the scores of simpler routers on the same labels."""
    labels, routed = split.labeled, split.routed
    mean = float(labels.gains.mean())
    by_class = {
        name: float(labels.gains[labels.classes == name].mean()) for name in set(labels.classes)
    }
    nearest = np.argpartition(-(routed.vectors @ labels.vectors.T), NEIGHBOR_COUNT)
    random = np.random.default_rng(seed).random(len(routed.gains))
    return {
        "random": random,
        "classes": np.asarray([by_class.get(name, mean) for name in routed.classes])
        + 1e-6 * random,
        "length": routed.lengths.astype(float),
        "20 nearest": labels.gains[nearest[:, :NEIGHBOR_COUNT]].mean(1),
    }


def curve_rows(questions: Questions, label_count: int, seeds: range, goal: float) -> list[Row]:
    """Return the row for APGR, with the peers."""
    apgrs: list[float] = []
    peer_apgrs: dict[str, list[float]] = {}
    for seed in seeds:
        split = split_and_fit(questions, label_count, seed)
        apgrs.append(compute_apgr(split.predicted, split.routed.gains))
        for peer, scores in score_with_peers(split, seed).items():
            peer_apgrs.setdefault(peer, []).append(compute_apgr(scores, split.routed.gains))
    peer_means = {peer: statistics.mean(values) for peer, values in peer_apgrs.items()}
    title = f"MMLU, {label_count} labels, {len(seeds)} draws: APGR"
    return [bounded_row(title, statistics.mean(apgrs), "", at_least=goal, peers=peer_means)]


@dataclass(frozen=True)
class Savings:
    """Results of one split.

    Attributes:
        saved_share: share of calls that the certified step saves.
        loss: true loss with the certified step.
        naive_loss: true loss with the naive step.
    """

    saved_share: float
    loss: float
    naive_loss: float


def measure_savings(split: Split) -> Savings:
    """Certify a step on the labeled questions, and measure it on the routed ones."""
    gains, prices = split.labeled.gains[:, None], list(PRICES)
    best = find_cheapest_step(
        compute_price_steps(gains, split.fitted.cross_fitted, prices, margin=MARGIN)
    )
    is_cheap = _is_cheap(split.predicted, best.weight if best else -math.inf)
    # The peer uses the model's predictions on its own training labels, and no bound.
    fitted = split.fitted.model.predict(split.fitted.model.rows.astype(np.float64))[:, 0]
    naive_weight = -math.inf
    for share in np.arange(STEP_SHARE, 1.0, STEP_SHARE):
        weight = float(np.quantile(fitted, share))
        if float((split.labeled.gains * (fitted < weight)).mean()) > MARGIN:
            break
        naive_weight = weight
    return Savings(
        float(is_cheap.mean()),
        float((split.routed.gains * is_cheap).mean()),
        float((split.routed.gains * (split.predicted < naive_weight)).mean()),
    )


def _is_cheap(predicted: Floats, weight: float) -> np.ndarray:
    """Return which questions the weak model answers at this weight."""
    return predicted < weight * (PRICES[1] - PRICES[0]) if weight > -math.inf else predicted > 9


def margin_rows(questions: Questions, plan: dict[int, int], goals: dict[int, float]) -> list[Row]:
    """Return rows for the calls saved, and for how often the true loss exceeds the margin.

    Args:
        plan: the number of splits by number of labels.
        goals: the goal for the calls saved, in percent, by number of labels.
    """
    rows: list[Row] = []
    for label_count, split_count in plan.items():
        savings = [
            measure_savings(split_and_fit(questions, label_count, 10_000 + seed))
            for seed in range(split_count)
        ]
        saved = 100 * statistics.mean(each.saved_share for each in savings)
        above = 100 * sum(each.loss > MARGIN for each in savings) / split_count
        naive = 100 * sum(each.naive_loss > MARGIN for each in savings) / split_count
        title = f"MMLU, {label_count} labels, margin {MARGIN:g}, {split_count} splits"
        # 5 % of the splits plus two standard errors
        allowed = 100 * (0.05 + 2 * math.sqrt(0.05 * 0.95 / split_count))
        rows += [
            bounded_row(f"{title}: paid calls saved", saved, "%", at_least=goals.get(label_count)),
            Row(
                f"{title}: true loss above the margin",
                above,
                "% splits",
                5.0,
                above <= allowed,
                {"threshold from the labels that fitted it": naive},
            ),
        ]
    return rows


def main() -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--only", choices=("curves", "margin"))
    options = parser.parse_args()
    mmlu = read_mmlu()
    parts: dict[str, Callable[[], list[Row]]]
    if options.quick:
        print("quick mode: 3 draws, 10 splits of 600 labels")
        parts = {
            "curves": lambda: curve_rows(mmlu, 300, range(3), 0.61),
            "margin": lambda: margin_rows(mmlu, {600: 10}, {}),
        }
    else:
        parts = {
            "curves": lambda: [
                *curve_rows(mmlu, 300, range(20), 0.61),
                *curve_rows(mmlu, 1500, range(10), 0.64),
            ],
            "margin": lambda: margin_rows(mmlu, {1500: 200, 2500: 40}, {1500: 22.0, 2500: 28.0}),
        }
    return run_parts(
        {name: part for name, part in parts.items() if options.only in {None, name}},
        options.json,
        operator=lambda row: "≥" if not row.unit or "saved" in row.name else "≤",
    )


if __name__ == "__main__":
    raise SystemExit(main())
