"""Rows: trainings in worlds without a fall, at 3, 30 and 300 votes a day; delays of falls."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from tests.bench.retraining.rows import Form, Row, row
from tests.bench.retraining.worlds import GOOD, WORLDS, YEAR, Counts, cusum, evidence, lived
from tests.bench.retraining.worlds import day_sums as sums_of
from twin_resources.statistics.detector import DaySum, threshold

VALUES = 5_000
CUSUM_LIMIT = 20.0  # votes; a fixed limit, which is calibrated to no rate of false alarms


def false_trainings(form: Form) -> list[Row]:
    """A row a world and rate: homes that train within 5,000 values; trainings in a year."""
    seed = form.seed
    rows: list[Row] = []
    by_rate: dict[int, list[float]] = {}
    means: list[float] = []
    for rate in form.rates:
        homes = form.streams(12 if rate == 3 else 40, quick=3)
        until = min(YEAR, VALUES // rate)
        for number, world in enumerate(WORLDS):
            rng = np.random.default_rng([seed, rate, number])
            counts, quality = world.draw(rng, homes, rate)
            goods: Counts = rng.binomial(counts, np.clip(quality, 0.0, 1.0))
            lives = [lived(*one) for one in zip(counts, goods, strict=True)]
            early = 100.0 * sum(any(day < until for day in one.trained) for one in lives) / homes
            year = [float(len(one.trained)) for one in lives]
            peer = [cusum(*one, limit=CUSUM_LIMIT) for one in zip(counts, goods, strict=True)]
            peers = {
                "in a year, mean": float(np.mean(year)),
                "in a year, most": max(year),
                "CUSUM, fixed limit, %": 100.0
                * sum(p is not None and p < until for p in peer)
                / homes,
            }
            name = f"{rate} a day, {world.name} ({homes} homes): train in {VALUES:,} values"
            rows.append(row(name, early, "%", at_most=10.0 if world.has_goal else None,
                            peers=peers))  # fmt: skip
            means.append(float(np.mean(year)))
            if world.has_goal:
                by_rate.setdefault(rate, []).append(early)
    worst = max(one.peers["in a year, most"] for one in rows)
    rows.append(row("useless trainings in a year, worst home of all worlds", worst, "", at_most=6))
    rows.append(row("useless trainings in a year, mean over worlds", float(np.mean(means)), "",
                    at_most=1.5))  # fmt: skip
    for rate, shares in by_rate.items():
        name = f"{rate} a day, mean over worlds with a goal: train in {VALUES:,} values"
        rows.append(row(name, float(np.mean(shares)), "%", at_most=3.0))
    return rows


def delays(form: Form) -> list[Row]:
    """A row a fall and rate: values from the fall to the alarm beside an oracle, a CUSUM of
    likelihood ratios that knows both means and when it may look first."""
    rows: list[Row] = []
    for rate in form.rates:
        for number, fall in enumerate((0.05, 0.1, 0.2, 0.4)):
            homes = form.streams(20 if rate == 3 else 40, quick=4)
            rng = np.random.default_rng([form.seed, 5, rate, number])
            begin = max(60, 1_000 // rate)
            days = begin + max(30, 4_000 // rate)
            counts: Counts = rng.poisson(rate, (homes, days))
            means = np.where(np.arange(days) >= begin, GOOD - fall, GOOD)
            goods: Counts = rng.binomial(counts, means)
            ours = [_delay(*one, begin=begin) for one in zip(counts, goods, strict=True)]
            known = [one for one in ours if one is not None]
            oracle = float(np.median([_oracle(rng, fall) for _ in range(200)]))
            name = f"{rate} a day, all .{round(100 * fall):02d} lower ({homes} homes): delay"
            goal = 2.0 * max(oracle, float(rate)) if fall >= 0.1 else None
            rows.append(row(name, float(np.median(known)) if known else math.inf, "values",
                            at_most=goal, peers={"oracle": oracle}))  # fmt: skip
    return rows


def _delay(counts: Counts, goods: Counts, *, begin: int) -> float | None:
    """Values from the fall to the alarm; None: an alarm came before it; infinite: none came."""
    sums: list[DaySum] = []
    since = 0
    for day, of_day in enumerate(sums_of(counts, goods)):
        if of_day is not None:
            sums.append(of_day)
            since += of_day.count if day >= begin else 0
        if day < begin - 30 or of_day is None:
            continue
        if evidence(sums).e_value >= threshold(armed_streams=1):
            return float(since) if day >= begin else None
    return math.inf


def _oracle(rng: np.random.Generator, fall: float) -> float:
    """Values until the likelihood ratio of "fell by just that" against "did not" is enough."""
    bad = GOOD - fall
    up, down = math.log(bad / GOOD), math.log((1 - bad) / (1 - GOOD))
    total, limit = 0.0, calibrated(fall)
    for number, good in enumerate(rng.random(200_000) < bad, start=1):
        total = max(0.0, total + (up if good else down))
        if total >= limit:
            return float(number)
    return math.inf


@cache
def calibrated(fall: float, *, homes: int = 400) -> float:
    """The limit that 5 % of quiet homes reach in 5,000 values."""
    rng = np.random.default_rng(1)
    bad = GOOD - fall
    up, down = math.log(bad / GOOD), math.log((1 - bad) / (1 - GOOD))
    total, highest = np.zeros(homes), np.zeros(homes)
    for _ in range(VALUES):
        total = np.maximum(0.0, total + np.where(rng.random(homes) < GOOD, up, down))
        highest = np.maximum(highest, total)
    return float(np.quantile(highest, 0.95))
