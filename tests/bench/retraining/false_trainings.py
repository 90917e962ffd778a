"""Measure false trainings in worlds without a drop in quality, and the delay of true alarms."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from tests.bench.retraining.loop_size import LoopBenchmarkSize
from tests.bench.retraining.worlds import (
    USUAL_MEAN,
    WORLDS,
    YEAR_DAYS,
    Counts,
    generate_day_sums,
    simulate_year,
    thumbs_evidence,
)
from tests.bench.rows import Row, bounded_row
from twin_resources.statistics.detector import DaySum, compute_threshold

MAX_VALUES = 5_000


def false_training_rows(size: LoopBenchmarkSize) -> list[Row]:
    """Return a row for each world and rate: the share of homes that train within 5,000 values."""
    seed = size.seed
    rows: list[Row] = []
    early_shares_by_rate: dict[int, list[float]] = {}
    means: list[float] = []
    for rate in size.rates:
        homes = size.choose_home_count(12 if rate == 3 else 40, quick=3)
        last_day = min(YEAR_DAYS, MAX_VALUES // rate)
        for number, world in enumerate(WORLDS):
            rng = np.random.default_rng([seed, rate, number])
            counts, quality = world.draw(rng, homes, rate)
            good_counts: Counts = rng.binomial(counts, np.clip(quality, 0.0, 1.0))
            years = [simulate_year(*votes) for votes in zip(counts, good_counts, strict=True)]
            early = (
                100.0
                * sum(any(day < last_day for day in year.training_days) for year in years)
                / homes
            )
            trainings = [float(len(year.training_days)) for year in years]
            peers = {
                "in a year, mean": float(np.mean(trainings)),
                "in a year, most": max(trainings),
            }
            name = f"{rate} a day, {world.name} ({homes} homes): train in {MAX_VALUES:,} values"
            rows.append(bounded_row(name, early, "%", at_most=10.0 if world.has_goal else None,
                            peers=peers))  # fmt: skip
            means.append(float(np.mean(trainings)))
            if world.has_goal:
                early_shares_by_rate.setdefault(rate, []).append(early)
    worst = max(row.peers["in a year, most"] for row in rows)
    rows.append(
        bounded_row("useless trainings in a year, worst home of all worlds", worst, "", at_most=6)
    )
    mean = float(np.mean(means))
    rows.append(bounded_row("useless trainings in a year, mean over worlds", mean, "", at_most=1.5))
    for rate, shares in early_shares_by_rate.items():
        name = f"{rate} a day, mean over worlds with a goal: train in {MAX_VALUES:,} values"
        rows.append(bounded_row(name, float(np.mean(shares)), "%", at_most=3.0))
    return rows


def delay_rows(size: LoopBenchmarkSize) -> list[Row]:
    """Return a row for each drop and rate: the number of values from the drop to the alarm.

    The peer is an oracle: a CUSUM of likelihood ratios that knows both means.
    """
    rows: list[Row] = []
    for rate in size.rates:
        for number, drop in enumerate((0.05, 0.1, 0.2, 0.4)):
            homes = size.choose_home_count(20 if rate == 3 else 40, quick=4)
            rng = np.random.default_rng([size.seed, 5, rate, number])
            drop_day = max(60, 1_000 // rate)
            days = drop_day + max(30, 4_000 // rate)
            counts: Counts = rng.poisson(rate, (homes, days))
            means = np.where(np.arange(days) >= drop_day, USUAL_MEAN - drop, USUAL_MEAN)
            good_counts: Counts = rng.binomial(counts, means)
            delays = [
                _delay(*home, drop_day=drop_day) for home in zip(counts, good_counts, strict=True)
            ]
            true_delays = [delay for delay in delays if delay is not None]
            oracle = float(np.median([_oracle_delay(rng, drop) for _ in range(200)]))
            name = f"{rate} a day, all .{round(100 * drop):02d} lower ({homes} homes): delay"
            goal = 2.0 * max(oracle, float(rate)) if drop >= 0.1 else None
            median = float(np.median(true_delays)) if true_delays else math.inf
            rows.append(bounded_row(name, median, "values", at_most=goal, peers={"oracle": oracle}))
    return rows


def _delay(counts: Counts, good_counts: Counts, *, drop_day: int) -> float | None:
    """Return the values from the drop to the alarm; None if it came earlier, inf if never."""
    sums: list[DaySum] = []
    value_count = 0
    for day, day_sum in enumerate(generate_day_sums(counts, good_counts)):
        if day_sum is not None:
            sums.append(day_sum)
            value_count += day_sum.count if day >= drop_day else 0
        if day < drop_day - 30 or day_sum is None:
            continue
        if thumbs_evidence(sums).likelihood_ratio >= compute_threshold(armed_streams=1):
            return float(value_count) if day >= drop_day else None
    return math.inf


def _oracle_delay(rng: np.random.Generator, drop: float) -> float:
    """Return the values until the likelihood ratio of exactly this drop exceeds its limit."""
    lowered_mean = USUAL_MEAN - drop
    up, down = math.log(lowered_mean / USUAL_MEAN), math.log((1 - lowered_mean) / (1 - USUAL_MEAN))
    total, limit = 0.0, calibrate_limit(drop)
    for number, good in enumerate(rng.random(200_000) < lowered_mean, start=1):
        total = max(0.0, total + (up if good else down))
        if total >= limit:
            return float(number)
    return math.inf


@cache
def calibrate_limit(drop: float, *, homes: int = 400) -> float:
    """Return the limit that 5 % of homes without a drop reach within 5,000 values."""
    rng = np.random.default_rng(1)
    lowered_mean = USUAL_MEAN - drop
    up, down = math.log(lowered_mean / USUAL_MEAN), math.log((1 - lowered_mean) / (1 - USUAL_MEAN))
    total, highest = np.zeros(homes), np.zeros(homes)
    for _ in range(MAX_VALUES):
        total = np.maximum(0.0, total + np.where(rng.random(homes) < USUAL_MEAN, up, down))
        highest = np.maximum(highest, total)
    return float(np.quantile(highest, 0.95))
