"""Routing: what the router is worth beside simpler ones, whether its margin holds, its money lasts.

    python tests/bench/bench_routing.py --quick|--full [--only PART] [--json FILE]

Data: 14,042 questions of MMLU answered by a weak and a strong model (RouteLLM's responses; the
README beside the data names source and licence), and 1,319 of GSM8K. The questions' vectors are
made by the project's own embedder and kept under /tmp. Gain = strong − weak, −1, 0 or 1; labels are
drawn by lot, the subjects are not told to the router. Peers see the same labels in the same run:
a lot, the mean gain of a question's class (`prompt_classes`), its length, the mean gain of its 20
nearest labels.

APGR is the mean share of the gap between weak and strong that is recovered over all shares of
strong calls, CPT50 the share of strong calls that recovers half of it (Ong et al., RouteLLM,
https://arxiv.org/abs/2406.18665). The money's row draws prices by length and sorts the questions'
subjects, so that the mix drifts. `--quick`: fewer splits and labels, and says so.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import polars as pl

from tests.bench.rows import Row, format_header, format_row, write_json
from twin_resources.gateway.request.prompt_classes import classify
from twin_resources.router.features import Floats, feature_rows, fit_scale
from twin_resources.router.fixed_order import STEP_SHARE, cheapest_certified, compute_price_steps
from twin_resources.router.gain import FittedGain, assign_folds, fit
from twin_resources.router.pacing import RemainingBudget, SpendingPace

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TWIN_SHARED_DATA", ROOT.parent / "shared" / "data")) / "routing"
KEPT = Path("/tmp/llm-twin-bench-routing")
MARGIN = 0.03
PRICES = (0.24 / 1e6 * 300, 24.7 / 1e6 * 300)  # RouteLLM's, of an answer of 300 tokens
NEIGHBOURS = 20


@dataclass(frozen=True)
class Questions:
    """Questions with both models' marks; arrays of length n."""

    vectors: Floats
    lengths: np.ndarray
    gains: Floats
    classes: np.ndarray
    subjects: np.ndarray

    def of(self, picked: np.ndarray) -> Questions:
        return Questions(
            self.vectors[picked],
            self.lengths[picked],
            self.gains[picked],
            self.classes[picked],
            self.subjects[picked],
        )


def read(bench: str) -> Questions:
    """The questions of `mmlu` or `gsm8k`."""
    frame = pl.read_parquet(DATA / "routellm_mmlu_gsm8k.parquet")
    prompts = frame["prompt"].to_list()
    mine = (frame["bench"] == bench).to_numpy()
    gains = frame["strong_ok"].cast(pl.Float64) - frame["weak_ok"].cast(pl.Float64)
    return Questions(
        vectors_of(prompts)[mine].astype(np.float64),
        np.asarray([len(prompt) for prompt in prompts])[mine],
        gains.to_numpy()[mine],
        np.asarray([classify(prompt) for prompt in prompts])[mine],
        frame["domain"].to_numpy()[mine],
    )


def vectors_of(prompts: list[str]) -> np.ndarray:
    """The questions' vectors, made once."""
    kept = KEPT / f"{len(prompts)}.npy"
    if not kept.exists():
        from tests.bench.knowledge.corpus import settings
        from twin_resources.models.embedder.embedder import load_embedder

        embedder = load_embedder(settings())
        parts = [embedder.embed(prompts[n : n + 512]) for n in range(0, len(prompts), 512)]
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.concatenate(parts))
    return np.load(kept)


@dataclass(frozen=True)
class Split:
    """Labels, questions to be routed, and the router that the labels made."""

    labels: Questions
    asked: Questions
    fitted: FittedGain
    predicted: Floats


def split(found: Questions, labels: int, seed: int) -> Split:
    """Draw labels by lot, fit, and predict the others."""
    order = np.random.default_rng(seed).permutation(len(found.gains))
    known, asked = found.of(order[:labels]), found.of(order[labels:])
    none = np.zeros(len(order))
    scale = fit_scale(known.lengths.tolist(), none[:labels].tolist())
    made = feature_rows(known.vectors, known.lengths.tolist(), none[:labels].tolist(), scale=scale)
    fitted = fit(made, known.gains[:, None], assign_folds([str(n) for n in order[:labels]]))
    others = feature_rows(
        asked.vectors, asked.lengths.tolist(), none[labels:].tolist(), scale=scale
    )
    return Split(known, asked, fitted, fitted.model.predict(others)[:, 0])


def apgr(scores: Floats, gains: Floats) -> float:
    """Mean recovered share of the gap over 41 shares of strong calls, trapezoids."""
    recovered = _recovered(scores, gains)
    shares = np.linspace(0.0, 1.0, 41)
    return float(np.trapezoid(recovered[np.rint(shares * len(gains)).astype(int)], shares))


def cpt50(scores: Floats, gains: Floats) -> float:
    """Per cent of strong calls that recover half of the gap."""
    return 100.0 * float(np.argmax(_recovered(scores, gains) >= 0.5)) / len(gains)


def _recovered(scores: Floats, gains: Floats) -> Floats:
    order = np.argsort(-scores, kind="stable")
    return np.concatenate([[0.0], np.cumsum(gains[order])]) / gains.sum()


def peers(one: Split, seed: int) -> dict[str, Floats]:
    """The scores of simpler routers on the same labels."""
    mean = float(one.labels.gains.mean())
    by_class = {
        name: float(one.labels.gains[one.labels.classes == name].mean())
        for name in set(one.labels.classes)
    }
    near = np.argpartition(-(one.asked.vectors @ one.labels.vectors.T), NEIGHBOURS)
    return {
        "random": np.random.default_rng(seed).random(len(one.asked.gains)),
        "classes": np.asarray([by_class.get(name, mean) for name in one.asked.classes])
        + 1e-6 * np.random.default_rng(seed).random(len(one.asked.gains)),
        "length": one.asked.lengths.astype(float),
        "20 nearest": one.labels.gains[near[:, :NEIGHBOURS]].mean(1),
    }


def curve_rows(
    found: Questions, name: str, labels: int, seeds: range, goal: float | None
) -> list[Row]:
    """APGR beside the peers, and CPT50."""
    ours: list[float] = []
    calls: list[float] = []
    theirs: dict[str, list[float]] = {}
    for seed in seeds:
        one = split(found, labels, seed)
        ours.append(apgr(one.predicted, one.asked.gains))
        calls.append(cpt50(one.predicted, one.asked.gains))
        for peer, scores in peers(one, seed).items():
            theirs.setdefault(peer, []).append(apgr(scores, one.asked.gains))
    value = statistics.mean(ours)
    told = {peer: round(statistics.mean(values), 3) for peer, values in theirs.items()}
    title = f"{name}, {labels} labels, {len(seeds)} draws"
    least = 32.0 if goal is not None and labels > 300 else None
    calls_mean = statistics.mean(calls)
    return [
        Row(f"{title}: APGR", value, "", goal, goal is None or value >= goal, told),
        Row(f"{title}: CPT50", calls_mean, "%", least, least is None or calls_mean <= least),
    ]


@dataclass(frozen=True)
class Held:
    """One split: what was saved and truly lost by the certified step, and by the naive one."""

    saved: float
    lost: float
    naive_lost: float


def hold(one: Split) -> Held:
    """Certify on the labels, measure on the others."""
    gains, prices = one.labels.gains[:, None], list(PRICES)
    best = cheapest_certified(
        compute_price_steps(gains, one.fitted.cross_fitted, prices, margin=MARGIN)
    )
    own = _own(one.predicted, best.weight if best else -math.inf)
    # The peer takes the fitted labels' own predictions, and no bound.
    inside = one.fitted.model.predict(one.fitted.model.rows.astype(np.float64))[:, 0]
    naive = -math.inf
    for share in np.arange(STEP_SHARE, 1.0, STEP_SHARE):
        weight = float(np.quantile(inside, share))
        if float((one.labels.gains * (inside < weight)).mean()) > MARGIN:
            break
        naive = weight
    return Held(
        float(own.mean()),
        float((one.asked.gains * own).mean()),
        float((one.asked.gains * (one.predicted < naive)).mean()),
    )


def _own(predicted: Floats, weight: float) -> np.ndarray:
    return predicted < weight * (PRICES[1] - PRICES[0]) if weight > -math.inf else predicted > 9


def margin_rows(found: Questions, plan: dict[int, int], goals: dict[int, float]) -> list[Row]:
    """Calls saved, and how often the true loss is above the margin.

    Args:
        plan: labels → splits.
    """
    made: list[Row] = []
    for labels, splits in plan.items():
        held = [hold(split(found, labels, 10_000 + seed)) for seed in range(splits)]
        saved = 100 * statistics.mean(one.saved for one in held)
        above = sum(one.lost > MARGIN for one in held)
        naive = sum(one.naive_lost > MARGIN for one in held)
        goal = goals.get(labels)
        title = f"MMLU, {labels} labels, margin {MARGIN:g}, {splits} splits"
        # 5 % of the splits and two standard errors of that
        allowed = 100 * (0.05 + 2 * math.sqrt(0.05 * 0.95 / splits))
        made += [
            Row(f"{title}: paid calls saved", saved, "%", goal, goal is None or saved >= goal),
            Row(
                f"{title}: true loss above the margin",
                100 * above / splits,
                "% splits",
                5.0,
                100 * above / splits <= allowed,
                {"threshold from the labels that fitted it": 100 * naive / splits},
            ),
        ]
    return made


def money_rows(found: Questions, seeds: range) -> list[Row]:
    """How much of the period the money lasts when hard subjects come last, and what was spent."""
    lasts: list[float] = []
    spent: list[float] = []
    fixed: list[float] = []
    for seed in seeds:
        one = split(found, 1500, seed)
        order = compute_price_steps(
            one.labels.gains[:, None], one.fitted.cross_fitted, list(PRICES), margin=MARGIN
        )
        best = cheapest_certified(order)
        certified = order.index(best) if best else 0
        by_subject = {
            name: one.predicted[one.asked.subjects == name].mean()
            for name in set(one.asked.subjects)
        }
        queue = np.argsort([-by_subject[name] for name in one.asked.subjects], kind="stable")
        usd = PRICES[1] * (0.5 + one.asked.lengths / one.asked.lengths.mean() / 2)
        # half of what the certified step would spend on the whole period
        own = _own(one.predicted, order[certified].weight)
        budget = 0.5 * float(usd[~own].sum())
        every = 86_400.0 / len(queue)
        for paced, into in ((True, lasts), (False, fixed)):
            left, ended, pace, index = budget, 1.0, SpendingPace(), certified
            for place, question in enumerate(queue):
                now = place * every
                predicted = one.predicted[question : question + 1]
                pace.record_question(now, predicted, np.array([0.0, usd[question]]))
                if paced and pace.is_due(now):
                    money = RemainingBudget(left, 86_400.0 - now)
                    index = pace.choose_step(
                        now, money, order, np.asarray(PRICES), certified=certified
                    )
                if not _own(predicted, order[index].weight)[0]:
                    if usd[question] > left:  # what the account refuses
                        ended = min(ended, now / 86_400.0)
                    else:
                        left -= usd[question]
            into.append(ended)
            if paced:
                spent.append((budget - left) / budget)
    return [
        Row(
            f"drifting mix, half the money, {len(seeds)} draws: it lasts for",
            min(lasts),
            "of the day",
            0.98,
            min(lasts) >= 0.98,
            {"fixed threshold": round(statistics.mean(fixed), 3)},
        ),
        Row(
            "the same: spent of the budget",
            max(spent),
            "× budget",
            1.0,
            max(spent) <= 1.0,
            {"least": round(min(spent), 3)},
        ),
    ]


def main() -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    form = arguments.add_mutually_exclusive_group(required=True)
    form.add_argument("--quick", action="store_true")
    form.add_argument("--full", action="store_true")
    arguments.add_argument("--only", choices=("curves", "margin", "money"))
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    mmlu, gsm8k = read("mmlu"), read("gsm8k")
    parts: dict[str, Callable[[], list[Row]]]
    if given.quick:
        print("scaled down: 3 draws, 10 splits of 600 labels, no money")
        parts = {
            "curves": lambda: curve_rows(mmlu, "MMLU", 300, range(3), 0.61),
            "margin": lambda: margin_rows(mmlu, {600: 10}, {}),
        }
    else:
        parts = {
            "curves": lambda: [
                *curve_rows(mmlu, "MMLU", 300, range(20), 0.61),
                *curve_rows(mmlu, "MMLU", 1500, range(10), 0.64),
                *curve_rows(gsm8k, "GSM8K", 300, range(20), None),
            ],
            "margin": lambda: margin_rows(mmlu, {1500: 200, 2500: 40}, {1500: 22.0, 2500: 28.0}),
            "money": lambda: money_rows(mmlu, range(3)),
        }
    made: list[Row] = []
    print(format_header())
    for name, part in parts.items():
        for row in part() if given.only in {None, name} else ():
            lower = row.unit in {"", "of the day"} or "saved" in row.name
            print(format_row(row, goal_operator="≥" if lower else "≤"), flush=True)
            made.append(replace(row, value=float(row.value), holds=bool(row.holds)))  # of NumPy
    if given.json:
        write_json(made, given.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
