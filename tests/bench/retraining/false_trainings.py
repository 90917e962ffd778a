"""Rows: false trainings in worlds without a fall in quality, and the delay of true alarms."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from tests.bench.retraining.rows import Form
from tests.bench.retraining.worlds import (
    GOOD,
    WORLDS,
    YEAR,
    Counts,
    evidence,
    generate_day_sums,
    simulate_year,
)
from tests.bench.rows import Row, bounded_row
from twin_resources.statistics.detector import DaySum, compute_threshold

VALUES = 5_000


def false_trainings(form: Form) -> list[Row]:
    """Return a row for each world and rate: homes that train within 5,000 values."""
    seed = form.seed
    rows: list[Row] = []
    by_rate: dict[int, list[float]] = {}
    means: list[float] = []
    for rate in form.rates:
        homes = form.count_homes(12 if rate == 3 else 40, quick=3)
        until = min(YEAR, VALUES // rate)
        for number, world in enumerate(WORLDS):
            rng = np.random.default_rng([seed, rate, number])
            counts, quality = world.draw(rng, homes, rate)
            goods: Counts = rng.binomial(counts, np.clip(quality, 0.0, 1.0))
            years = [simulate_year(*votes) for votes in zip(counts, goods, strict=True)]
            early = 100.0 * sum(any(day < until for day in year.trained) for year in years) / homes
            trainings = [float(len(year.trained)) for year in years]
            peers = {
                "in a year, mean": float(np.mean(trainings)),
                "in a year, most": max(trainings),
            }
            name = f"{rate} a day, {world.name} ({homes} homes): train in {VALUES:,} values"
            rows.append(bounded_row(name, early, "%", at_most=10.0 if world.has_goal else None,
                            peers=peers))  # fmt: skip
            means.append(float(np.mean(trainings)))
            if world.has_goal:
                by_rate.setdefault(rate, []).append(early)
    worst = max(row.peers["in a year, most"] for row in rows)
    rows.append(
        bounded_row("useless trainings in a year, worst home of all worlds", worst, "", at_most=6)
    )
    mean = float(np.mean(means))
    rows.append(bounded_row("useless trainings in a year, mean over worlds", mean, "", at_most=1.5))
    for rate, shares in by_rate.items():
        name = f"{rate} a day, mean over worlds with a goal: train in {VALUES:,} values"
        rows.append(bounded_row(name, float(np.mean(shares)), "%", at_most=3.0))
    return rows


def delays(form: Form) -> list[Row]:
    """Return a row for each fall and rate: values from the fall to the alarm.

    The peer is an oracle: a CUSUM of likelihood ratios that is given both means.
    """
    rows: list[Row] = []
    for rate in form.rates:
        for number, fall in enumerate((0.05, 0.1, 0.2, 0.4)):
            homes = form.count_homes(20 if rate == 3 else 40, quick=4)
            rng = np.random.default_rng([form.seed, 5, rate, number])
            begin = max(60, 1_000 // rate)
            days = begin + max(30, 4_000 // rate)
            counts: Counts = rng.poisson(rate, (homes, days))
            means = np.where(np.arange(days) >= begin, GOOD - fall, GOOD)
            goods: Counts = rng.binomial(counts, means)
            measured = [_delay(*votes, begin=begin) for votes in zip(counts, goods, strict=True)]
            known = [delay for delay in measured if delay is not None]
            oracle = float(np.median([_oracle(rng, fall) for _ in range(200)]))
            name = f"{rate} a day, all .{round(100 * fall):02d} lower ({homes} homes): delay"
            goal = 2.0 * max(oracle, float(rate)) if fall >= 0.1 else None
            rows.append(bounded_row(name, float(np.median(known)) if known else math.inf, "values",
                            at_most=goal, peers={"oracle": oracle}))  # fmt: skip
    return rows


def _delay(counts: Counts, goods: Counts, *, begin: int) -> float | None:
    """Return the values from the fall to the alarm; None if it came earlier, inf if never."""
    sums: list[DaySum] = []
    since = 0
    for day, day_sum in enumerate(generate_day_sums(counts, goods)):
        if day_sum is not None:
            sums.append(day_sum)
            since += day_sum.count if day >= begin else 0
        if day < begin - 30 or day_sum is None:
            continue
        if evidence(sums).e_value >= compute_threshold(armed_streams=1):
            return float(since) if day >= begin else None
    return math.inf


def _oracle(rng: np.random.Generator, fall: float) -> float:
    """Return the values until the likelihood ratio of exactly this fall passes its limit."""
    bad = GOOD - fall
    up, down = math.log(bad / GOOD), math.log((1 - bad) / (1 - GOOD))
    total, limit = 0.0, calibrated_limit(fall)
    for number, good in enumerate(rng.random(200_000) < bad, start=1):
        total = max(0.0, total + (up if good else down))
        if total >= limit:
            return float(number)
    return math.inf


@cache
def calibrated_limit(fall: float, *, homes: int = 400) -> float:
    """Return the limit that 5 % of homes without a fall reach in 5,000 values."""
    rng = np.random.default_rng(1)
    bad = GOOD - fall
    up, down = math.log(bad / GOOD), math.log((1 - bad) / (1 - GOOD))
    total, highest = np.zeros(homes), np.zeros(homes)
    for _ in range(VALUES):
        total = np.maximum(0.0, total + np.where(rng.random(homes) < GOOD, up, down))
        highest = np.maximum(highest, total)
    return float(np.quantile(highest, 0.95))
